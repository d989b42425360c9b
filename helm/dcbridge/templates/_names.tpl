{{/* Names and labels. */}}

{{- define "dcbridge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What this bridge is called in metrics: the label `bridge` of everything that is scraped from it. */}}
{{- define "dcbridge.bridge" -}}
{{ .Release.Namespace }}/{{ include "dcbridge.fullname" . }}
{{- end -}}

{{- define "dcbridge.release" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* (list $ "component" "worker's name or nothing"): what selects the pods of one part. */}}
{{- define "dcbridge.selector" -}}
{{- $root := index . 0 -}}
{{ include "dcbridge.release" $root }}
app.kubernetes.io/component: {{ index . 1 }}
{{- with index . 2 }}
dcbridge/worker: {{ . | quote }}
{{- end -}}
{{- end -}}

{{/* (list $ "component" "worker"): the labels of an object. */}}
{{- define "dcbridge.labels" -}}
{{- $root := index . 0 -}}
{{ include "dcbridge.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: dcbridge
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "dcbridge.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "dcbridge.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "dcbridge.image" -}}
{{ include "dcbridge.imageOf" (list . .Values.image) }}
{{- end -}}

{{/* (list $ image): an image by its digest, or by its tag. */}}
{{- define "dcbridge.imageOf" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What the worker is, with everything that workerDefaults says of it: (list $ name) → YAML. */}}
{{- define "dcbridge.worker" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.workers (index . 1) | default dict -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.workerDefaults) (deepCopy $own)) -}}
{{- end -}}
