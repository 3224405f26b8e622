{{/* Names, labels and images. A part is one of worker, query-service, signals, migrate, topics, agent, otlp. */}}

{{- define "endpoint-analytics.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that what is added to it fits into a label. A longer one ends with its hash: two releases
whose names begin alike would share their objects otherwise. */}}
{{- define "endpoint-analytics.fullname" -}}
{{- $name := include "endpoint-analytics.name" . -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{- $full = $full | replace "." "-" -}}
{{- if gt (len $full) 40 -}}
{{- $full = printf "%s-%s" ($full | trunc 31 | trimSuffix "-") ($full | sha256sum | trunc 8) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* What selects a part's pods: never changes between versions, since a selector cannot. */}}
{{- define "endpoint-analytics.selector" -}}
app.kubernetes.io/name: {{ include "endpoint-analytics.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* Labels of an object: `.labels` and the common ones may replace ours, except those by which objects are found. */}}
{{- define "endpoint-analytics.labels" -}}
{{- $fixed := include "endpoint-analytics.selector" . | fromYaml -}}
{{- $_ := set $fixed "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $ours := dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/part-of" "endpoint-analytics"
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- merge $fixed (default dict .labels) .root.Values.commonLabels $ours | toYaml -}}
{{- end -}}

{{/* metadata of an object of a part, without its name; `labels` and `annotations` are added to the common ones. */}}
{{- define "endpoint-analytics.metadata" -}}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "endpoint-analytics.labels" . | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The image of agents: their own, or that of everything. */}}
{{- define "endpoint-analytics.agentImage" -}}
{{- $own := .Values.agent.image -}}
{{- include "endpoint-analytics.image" (dict "root" . "image" (ternary $own .Values.image (not (empty $own.repository)))) -}}
{{- end -}}

{{/* An image by its digest if there is one, else by its tag. */}}
{{- define "endpoint-analytics.image" -}}
{{- $tag := default .root.Chart.AppVersion .image.tag -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository $tag -}}
{{- end -}}
{{- end -}}
