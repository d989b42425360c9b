{{/* What every pod of the bridge's own image has in common. */}}

{{/* A number or a word as the environment holds it: 1048576 and not 1.048576e+06. */}}
{{- define "dcbridge.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- printf "%d" (int64 .) -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* A quantity of Kubernetes, such as 1.5Gi, as a number. */}}
{{- define "dcbridge.bytes" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- printf "%.0f" (mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[A-Za-z]*$" .))) -}}
{{- end -}}

{{/* (list $ "name" own): one setting as a process of this part has it; `own` are the settings of the part. */}}
{{- define "dcbridge.setting" -}}
{{- $root := index . 0 -}}
{{- include "dcbridge.text" (index (merge (deepCopy (index . 2)) (deepCopy $root.Values.settings)) (index . 1)) -}}
{{- end -}}

{{- define "dcbridge.redisUrlIsSecret" -}}
{{- if not (or .Values.redis.bundled.enabled .Values.redis.url) }}yes{{ end -}}
{{- end -}}

{{/* (list $ given): under which names the operator ports are asked: those of their Service, of its pods, and the given. */}}
{{- define "dcbridge.operatorHosts" -}}
{{- $root := index . 0 -}}
{{- $short := printf "%s-operator" (include "dcbridge.fullname" $root) -}}
{{- $long := printf "%s.%s.svc" $short $root.Release.Namespace -}}
{{- $names := list $short (printf "%s.%s" $short $root.Release.Namespace) $long (printf "%s.cluster.local" $long) -}}
{{- $names = concat $names (list (printf "*.%s" $long) (printf "*.%s.cluster.local" $long)) -}}
{{- with index . 1 }}{{ $names = append $names . }}{{ end -}}
{{- join "," $names -}}
{{- end -}}

{{/* (list $ own journal): the environment; `own` are the part's settings, `journal` its folder or nothing. */}}
{{- define "dcbridge.env" -}}
{{- $root := index . 0 -}}
{{- $secret := $root.Values.secrets.name -}}
- name: DCBRIDGE_CONFIG
  value: /etc/dcbridge/bridge.yaml
{{- if $root.Values.redis.bundled.enabled }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $root.Values.redis.bundled.passwordKey }}}
- name: DCBRIDGE_REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "dcbridge.fullname" $root }}-redis:6379/0
{{- else if $root.Values.redis.url }}
- name: DCBRIDGE_REDIS_URL
  value: {{ $root.Values.redis.url | quote }}
{{- else }}
- name: DCBRIDGE_REDIS_URL
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $root.Values.redis.urlKey }}}
{{- end }}
{{- with $root.Values.redis.tls }}
{{- if .secretName }}
{{- range $setting, $file := dict "CA_FILE" .ca "CLIENT_CERTIFICATE" .certificate "CLIENT_KEY" .key }}
{{- if $file }}
- name: DCBRIDGE_REDIS_{{ $setting }}
  value: /run/secrets/redis/{{ $file }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with index . 2 }}
- name: DCBRIDGE_JOURNAL
  value: {{ . }}
- name: DCBRIDGE_JOURNAL_LIMIT
  value: {{ printf "%d" (mul (int64 $root.Values.service.journal.megabytes) 1048576) | quote }}
{{- end }}
{{- $settings := merge (deepCopy (index . 1)) (deepCopy $root.Values.settings) }}
- name: DCBRIDGE_OPERATOR_HOSTS
  value: {{ include "dcbridge.operatorHosts" (list $root (get $settings "operator_hosts" | default "")) | quote }}
{{- range $name, $value := omit $settings "operator_hosts" }}
{{- if not (kindIs "invalid" $value) }}
- name: DCBRIDGE_{{ upper $name }}
  value: {{ include "dcbridge.text" $value | quote }}
{{- end }}
{{- end }}
{{- range $name, $key := $root.Values.secrets.env }}
{{- if $key }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}
{{- end }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dcbridge.mounts" -}}
- {name: config, mountPath: /etc/dcbridge, readOnly: true}
{{- if .Values.secrets.files }}
- {name: secrets, mountPath: /run/secrets/dcbridge, readOnly: true}
{{- end }}
{{- if .Values.redis.tls.secretName }}
- {name: redis-tls, mountPath: /run/secrets/redis, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (list $ "name of the ConfigMap") */}}
{{- define "dcbridge.volumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap: {name: {{ index . 1 }}}
{{- if $root.Values.secrets.files }}
- name: secrets
  secret: {secretName: {{ $root.Values.secrets.name }}, defaultMode: 0440}
{{- end }}
{{- with $root.Values.redis.tls.secretName }}
- name: redis-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dcbridge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* (list $ part): what a pod says besides its containers; `part` has nodeSelector and the like. */}}
{{- define "dcbridge.podBasics" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
enableServiceLinks: false
automountServiceAccountToken: false
securityContext: {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $part $field }}
{{ $field }}: {{- if kindIs "string" . }} {{ . }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* (list $ "component" "worker" "label of the revision") */}}
{{- define "dcbridge.spread" -}}
{{- $arguments := . -}}
{{- with (index . 0).Values.topologySpread }}
topologySpreadConstraints:
{{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels: {{- include "dcbridge.selector" $arguments | nindent 8 }}
    matchLabelKeys: [{{ index $arguments 3 }}]
{{- end }}
{{- end }}
{{- end -}}

{{/* (list $ own): three questions. Has it begun? Does it run? May it be sent work? Only the third looks at Redis. */}}
{{- define "dcbridge.probes" -}}
{{- $wait := add 1 (ceil (float64 (include "dcbridge.setting" (list (index . 0) "redis_timeout" (index . 1))))) -}}
startupProbe:
  httpGet: {path: /healthz, port: operator}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: operator}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: operator}
  periodSeconds: 5
  timeoutSeconds: {{ $wait }}
  failureThreshold: 2
{{- end -}}
