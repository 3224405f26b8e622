{{/* A job that runs before each installation and upgrade, with nothing of this chart: none of it exists then. */}}

{{- define "endpoint-analytics.hook" -}}
{{- $root := .root }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "endpoint-analytics.fullname" $root }}-{{ .part }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "endpoint-analytics.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded # a failed one stays, with its log
    {{- with $root.Values.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  backoffLimit: {{ .values.backoffLimit }}
  activeDeadlineSeconds: {{ .values.timeoutSeconds }}
  template:
    metadata:
      {{- include "endpoint-analytics.podMetadata" . | nindent 6 }}
    spec:
      {{- include "endpoint-analytics.podSettings" . | nindent 6 }}
      restartPolicy: Never # each try's log stays
      containers:
        - name: {{ .part }}
          image: {{ include "endpoint-analytics.image" (dict "root" $root "image" $root.Values.image) | quote }}
          args:
            {{- include "endpoint-analytics.extraArgs" (concat .args .values.extraArgs) | trim | nindent 12 }}
          {{- include "endpoint-analytics.env" . | nindent 10 }}
          {{- include "endpoint-analytics.containerSettings" . | nindent 10 }}
          {{- include "endpoint-analytics.mounts" . | nindent 10 }}
      {{- include "endpoint-analytics.volumes" . | nindent 6 }}
{{- end -}}
