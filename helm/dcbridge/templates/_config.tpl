{{/* A name that ends in .localhost, for which a public URL without TLS is allowed; the sandbox knows the way. */}}
{{- define "dcbridge.trialUrl" -}}
http://{{ include "dcbridge.fullname" . }}.localhost
{{- end -}}

{{/* bridge.yaml, from `config` or, in a trial, with both outside worlds in the pod beside. */}}
{{- define "dcbridge.config" -}}
{{- if .Values.trial.enabled -}}
{{- $name := include "dcbridge.fullname" . -}}
public_url: {{ include "dcbridge.trialUrl" . }}
digital_channels:
  base_url: http://{{ $name }}-sandbox:8090/nexus/v3
  contact_center_id: file:/run/secrets/dcbridge/contact_center_id
endpoints:
  main:
    secrets: ["file:/run/secrets/dcbridge/app_secret"]
interactions:
  main:
    secrets: ["file:/run/secrets/dcbridge/app_secret"]
providers:
  twilio:
    kind: twilio
    base_url: http://{{ $name }}-sandbox:8090
    account_sid: file:/run/secrets/dcbridge/account_sid
    auth_token: file:/run/secrets/dcbridge/twilio_auth_token
  mail:
    kind: smtp
    host: {{ $name }}-sandbox
    port: 8025
    security: none
    callback_secret: ["file:/run/secrets/dcbridge/mail_callback_secret"]
channels:
  "0123456789": {type: sms, provider: twilio, number: "+15557650123", unknown_grace: 3}
  company.com: {type: email, provider: mail, delivered_when: confirmed, unknown_grace: 3}
subscribers:
  sandbox:
    sink:
      kind: http
      url: http://{{ $name }}-sandbox:8090/subscriber
      secrets: ["file:/run/secrets/dcbridge/subscriber_secret"]
      allow: [{{ $name }}-sandbox]
    events: ["*", interaction.gap, subscriber.failing, subscriber.recovered, subscriber.disabled, subscriber.enabled, delivery.dead]
    retry: {waits: [2, 4, 8, 16, 32]}
{{- else -}}
{{- toYaml .Values.config -}}
{{- end -}}
{{- end -}}
