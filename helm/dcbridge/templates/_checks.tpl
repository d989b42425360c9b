{{/* What no schema can say, in words that name the value and the mend. `helm lint` shows them too. */}}

{{- define "dcbridge.checks" -}}
{{- if not (or .Values.config .Values.trial.enabled) -}}
  {{- fail "config: is empty; it becomes bridge.yaml: public_url, digital_channels, endpoints, providers, channels (docs/configuration.md), or set trial.enabled" -}}
{{- end -}}
{{- include "dcbridge.checkConfig" . -}}
{{- include "dcbridge.checkSettings" . -}}
{{- include "dcbridge.checkRedis" . -}}
{{- include "dcbridge.checkWorkers" . -}}
{{- include "dcbridge.checkMailIn" . -}}
{{- include "dcbridge.checkConsole" . -}}
{{- include "dcbridge.checkSurroundings" . -}}
{{- end -}}

{{/* "yes" where a channel takes mail, "imap" where one has mailboxes on servers. */}}
{{- define "dcbridge.mailIn" -}}
{{- $found := "" -}}
{{- range $_, $channel := (get (.Values.config | default dict) "channels" | default dict) -}}
  {{- with get ($channel | default dict) "inbound" -}}
    {{- if .imap -}}{{- $found = "imap" -}}{{- else -}}{{- $found = $found | default "yes" -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{- define "dcbridge.checkMailIn" -}}
{{- if and .Values.mailIn.enabled (not (include "dcbridge.mailIn" .)) -}}
  {{- fail "mailIn.enabled: no channel of config has inbound, so there is no mail to take" -}}
{{- end -}}
{{- end -}}

{{- define "dcbridge.checkConsole" -}}
{{- $console := get (.Values.config | default dict) "console" | default dict -}}
{{- if .Values.console.enabled -}}
  {{- if not (or $console.oidc $console.proxy $console.tokens) -}}
    {{- fail "console.enabled: config.console sets no way to sign in; set oidc, proxy or tokens of it" -}}
  {{- end -}}
  {{- if not $console.public_url -}}
    {{- fail "console.enabled: config.console.public_url is missing, the URL under which browsers reach the console" -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "dcbridge.checkConfig" -}}
{{- if .Values.trial.enabled -}}
  {{- if .Values.config -}}
    {{- fail "config: must be empty while trial.enabled: a trial has a bridge.yaml of its own" -}}
  {{- end -}}
  {{- if not .Values.secrets.files -}}
    {{- fail "secrets.files: must be true while trial.enabled: the sandbox reads its secrets from files" -}}
  {{- end -}}
{{- end -}}
{{- include "dcbridge.checkKeys" . -}}
{{- include "dcbridge.byReference" (list $ "config" .Values.config false) -}}
{{- $known := concat (keys .Values.secrets.env) (list) -}}
{{- range .Values.extraEnv -}}{{- $known = append $known .name -}}{{- end -}}
{{- range regexFindAll "(^|[^$])[$][{][A-Za-z_][A-Za-z0-9_]*[}]" (toYaml .Values.config) -1 -}}
  {{- $name := regexFind "[A-Za-z_][A-Za-z0-9_]*" . -}}
  {{- if not (has $name $known) -}}
    {{- fail (printf "config: names ${%s}, and nothing sets it; add secrets.env.%s with the key of the Secret %s" $name $name $.Values.secrets.name) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Before a template sees it, an unquoted key was a number or a boolean to YAML and has become another text: 01234567 is
     "342391", 0123456789 "1.2345679e+08", 12_000 "12000", no "false". Ten digits and more do not come of an octal number
     that anybody has for an id; shorter ones, and words and fractions, have to be confirmed. */}}
{{- define "dcbridge.checkKeys" -}}
{{- $confirmed := .Values.quotedKeys | default list -}}
{{- range $section := list "channels" "endpoints" "interactions" "providers" "subscribers" -}}
  {{- $noun := ternary "channel id" "name" (eq $section "channels") -}}
  {{- range $key, $_ := (get ($.Values.config | default dict) $section | default dict) -}}
    {{- if not (has $key $confirmed) -}}
      {{- if regexMatch "^[-+]?[0-9.]+e[-+]?[0-9]+$" $key -}}
        {{- fail (printf "config.%s: the %s %s was a number to YAML; write it in quotes, as in \"0123456789\":" $section $noun $key) -}}
      {{- else if regexMatch "^(true|false|-?(0|[1-9][0-9]{0,8})|-?[0-9]+[.][0-9]+|[-+]?[.](inf|nan))$" (lower $key) -}}
        {{- fail (printf "config.%s: the %s %s may have been another one, which YAML took for a number or a boolean (01234567 becomes 342391, no becomes false); write it in quotes, as in \"01234567\":, and where %s is right, confirm it with quotedKeys: [%s]" $section $noun $key $key (quote $key)) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The fields of bridge.yaml that hold a secret, at whatever depth. */}}
{{- define "dcbridge.secretFields" -}}
access_key api_key api_key_secret api_secret auth_token bearer callback_secret client_secret headers key_secret password previous_auth_tokens private_key refresh_token retired_secrets secret secret_access_key secrets server_token session_token signature_secret signing_keys token
{{- end -}}

{{/* (list $ path value secret): below a secret field every text is a reference. */}}
{{- define "dcbridge.byReference" -}}
{{- $root := index . 0 -}}{{- $path := index . 1 -}}{{- $value := index . 2 -}}{{- $secret := index . 3 -}}
{{- $fields := splitList " " (include "dcbridge.secretFields" $root) -}}
{{- if kindIs "map" $value -}}
  {{- range $name, $inner := $value -}}
    {{- include "dcbridge.byReference" (list $root (printf "%s.%s" $path $name) $inner (or $secret (has $name $fields))) -}}
  {{- end -}}
{{- else if kindIs "slice" $value -}}
  {{- range $at, $inner := $value -}}
    {{- include "dcbridge.byReference" (list $root (printf "%s[%d]" $path $at) $inner $secret) -}}
  {{- end -}}
{{- else if and $secret (not (kindIs "invalid" $value)) -}}
  {{- if not (regexMatch "^([$][{][A-Za-z_][A-Za-z0-9_]*[}]|file:/.+)$" (toString $value)) -}}
    {{- fail (printf "%s: holds a secret itself, and values end up in a ConfigMap; put it into the Secret %s and write file:/run/secrets/dcbridge/KEY, or ${NAME} with secrets.env.NAME" $path $root.Values.secrets.name) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "dcbridge.checkSettings" -}}
{{- $elsewhere := dict
  "config" "config" "redis_url" "redis.url or redis.urlKey" "token_key" "secrets.env.DCBRIDGE_TOKEN_KEY"
  "token_key_before" "secrets.env.DCBRIDGE_TOKEN_KEY_BEFORE"
  "blob_bucket_secret" "secrets.env.DCBRIDGE_BLOB_BUCKET_SECRET" "blob_bucket_session_token" "secrets.env.DCBRIDGE_BLOB_BUCKET_SESSION_TOKEN"
  "journal" "service.journal.storage" "journal_limit" "service.journal.megabytes"
  "redis_ca_file" "redis.tls.ca" "redis_client_certificate" "redis.tls.certificate" "redis_client_key" "redis.tls.key"
-}}
{{- if .Values.mailIn.tls.secretName -}}
  {{- $_ := set $elsewhere "mail_certificate" "mailIn.tls.certificate" -}}
  {{- $_ := set $elsewhere "mail_key" "mailIn.tls.key" -}}
{{- end -}}
{{- $places := dict "settings" .Values.settings "service.settings" .Values.service.settings "mailIn.settings" .Values.mailIn.settings "console.settings" .Values.console.settings -}}
{{- range $name, $worker := .Values.workers -}}
  {{- $_ := set $places (printf "workers.%s.settings" $name) (($worker | default dict).settings | default dict) -}}
{{- end -}}
{{- $_ := set $places "workerDefaults.settings" .Values.workerDefaults.settings -}}
{{- range $place, $settings := $places -}}
  {{- range $name, $where := $elsewhere -}}
    {{- if hasKey $settings $name -}}
      {{- fail (printf "%s.%s: the chart sets this one by itself; use %s" $place $name $where) -}}
    {{- end -}}
  {{- end -}}
  {{- with get $settings "blob_folder" -}}
    {{- $folder := . -}}{{- $mounted := not (hasPrefix "/" .) -}}
    {{- range $.Values.extraVolumeMounts -}}
      {{- if or (eq $folder .mountPath) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $folder) -}}{{- $mounted = true -}}{{- end -}}
    {{- end -}}
    {{- if not $mounted -}}
      {{- fail (printf "%s.blob_folder: %s is in no extraVolumeMounts, and pods cannot write elsewhere; mount a folder that all of them share, or use blob_bucket" $place $folder) -}}
    {{- end -}}
  {{- end -}}
  {{- if and (hasKey $settings "concurrency") (ne $place "service.settings") -}}
    {{- fail (printf "%s.concurrency: use workers.NAME.concurrency or workerDefaults.concurrency" $place) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "dcbridge.checkRedis" -}}
{{- $redis := .Values.redis -}}
{{- if and $redis.bundled.enabled $redis.url -}}
  {{- fail "redis.url: must be empty while redis.bundled.enabled" -}}
{{- end -}}
{{- if contains "@" $redis.url -}}
  {{- fail (printf "redis.url: holds a user or a password, and values are no place for one; put the whole URL into the Secret %s under redis.urlKey (%s) and leave redis.url empty" .Values.secrets.name $redis.urlKey) -}}
{{- end -}}
{{- if and $redis.tls.key (not $redis.tls.certificate) -}}
  {{- fail "redis.tls.key: needs redis.tls.certificate" -}}
{{- end -}}
{{- end -}}

{{- define "dcbridge.queues" -}}
outbound receipts inbound events
{{- end -}}

{{- define "dcbridge.checkWorkers" -}}
{{- $covered := list -}}
{{- $all := splitList " " (include "dcbridge.queues" .) -}}
{{- range $name, $_ := .Values.workers -}}
  {{- $worker := include "dcbridge.worker" (list $ $name) | fromYaml -}}
  {{- $covered = concat $covered ($worker.queues | default $all) -}}
  {{- with $worker.autoscaling -}}
    {{- if and .enabled (not .prometheusUrl) -}}
      {{- fail (printf "workers.%s.autoscaling.prometheusUrl: is empty; KEDA asks Prometheus how long work has waited" $name) -}}
    {{- end -}}
    {{- if gt (int .minReplicas) (int .maxReplicas) -}}
      {{- fail (printf "workers.%s.autoscaling: minReplicas is more than maxReplicas" $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $queue := $all -}}
  {{- if not (has $queue $covered) -}}
    {{- fail (printf "workers: nobody takes the queue %s, and what is in it would wait for ever; add it to the queues of a worker, or leave queues empty for all of them" $queue) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "dcbridge.checkSurroundings" -}}
{{- if gt (int .Values.service.autoscaling.minReplicas) (int .Values.service.autoscaling.maxReplicas) -}}
  {{- fail "service.autoscaling: minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) (not (get (.Values.config | default dict) "public_url")) -}}
  {{- fail "ingress.host: is empty, and there is no config.public_url to take it from" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
  {{- fail "httpRoute.parentRefs: is empty; name the Gateway" -}}
{{- end -}}
{{- with .Values.secrets.externalSecret -}}
  {{- if and .enabled (not .store.name) -}}
    {{- fail "secrets.externalSecret.store.name: is empty; name the store" -}}
  {{- end -}}
  {{- if and .enabled (not .extract) (not .data) -}}
    {{- fail "secrets.externalSecret: needs extract (one object of the store with all keys) or data (key by key)" -}}
  {{- end -}}
{{- end -}}
{{- with .Values.test -}}
  {{- if and .endpoint (not (and .secretKey .channel .to)) -}}
    {{- fail "test: endpoint needs secretKey, channel and to as well" -}}
  {{- end -}}
  {{- if and .interactions (not .endpoint) -}}
    {{- fail "test: interactions needs endpoint as well; an event is sent after the message" -}}
  {{- end -}}
{{- end -}}
{{- end -}}
