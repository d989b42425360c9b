{{/* The pod of the service, for a Deployment or a StatefulSet. */}}

{{- define "dcbridge.journalFolder" -}}
{{- if ne .Values.service.journal.storage "none" }}/var/lib/dcbridge/journal{{ end -}}
{{- end -}}

{{/* Seconds: the pause before SIGTERM, both listeners' last answers (10 each, dcbridge/runtime/server.py), the journal, 5. */}}
{{- define "dcbridge.serviceGrace" -}}
{{- $drain := ceil (float64 (include "dcbridge.setting" (list . "drain_seconds" .Values.service.settings))) -}}
{{- add (int .Values.service.preStopSeconds) 10 10 $drain 5 -}}
{{- end -}}

{{- define "dcbridge.servicePod" -}}
{{- $own := .Values.service.settings -}}
metadata:
  labels: {{- include "dcbridge.labels" (list . "service" "") | nindent 4 }}
    dcbridge/operator: "true"
    {{- with .Values.service.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    dcbridge/config: {{ include "dcbridge.config" . | sha256sum }}
    dcbridge/secrets: {{ .Values.secrets.revision | quote }}
    {{- with .Values.service.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "dcbridge.serviceAccount" . }}
  terminationGracePeriodSeconds: {{ include "dcbridge.serviceGrace" . }}
  {{- include "dcbridge.podBasics" (list . .Values.service) | nindent 2 }}
  {{- $revision := ternary "controller-revision-hash" "pod-template-hash" (eq .Values.service.journal.storage "persistentVolumeClaim") }}
  {{- include "dcbridge.spread" (list . "service" "" $revision) | nindent 2 }}
  containers:
    - name: service
      image: {{ include "dcbridge.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      env: {{- include "dcbridge.env" (list . $own (include "dcbridge.journalFolder" .)) | nindent 8 }}
      ports:
        - {name: public, containerPort: {{ include "dcbridge.setting" (list . "public_port" $own) }}}
        - {name: operator, containerPort: {{ include "dcbridge.setting" (list . "operator_port" $own) }}}
      {{- include "dcbridge.probes" (list . $own) | nindent 6 }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ .Values.service.preStopSeconds }}}
      resources: {{- toYaml .Values.service.resources | nindent 8 }}
      securityContext: {{- include "dcbridge.containerSecurity" . | nindent 8 }}
      volumeMounts: {{- include "dcbridge.mounts" . | nindent 8 }}
        {{- if include "dcbridge.journalFolder" . }}
        - {name: journal, mountPath: /var/lib/dcbridge}
        {{- end }}
  volumes: {{- include "dcbridge.volumes" (list . (include "dcbridge.fullname" .)) | nindent 4 }}
    {{- if eq .Values.service.journal.storage "emptyDir" }}
    - name: journal
      emptyDir: {sizeLimit: {{ include "dcbridge.journalSize" . }}}
    {{- end }}
{{- end -}}

{{/* Room for the journal's limit, the segment that is being written, and the disk's own books. */}}
{{- define "dcbridge.journalSize" -}}
{{- add 64 (div (mul (int64 .Values.service.journal.megabytes) 5) 4) -}}Mi
{{- end -}}
