{{/* What all pods share: labels, rights, placement, variables and volumes. `.values` are those of the part. */}}

{{- define "endpoint-analytics.podMetadata" -}}
labels:
  {{- $fixed := include "endpoint-analytics.selector" . | fromYaml }}
  {{- $ours := dict "app.kubernetes.io/part-of" "endpoint-analytics" }}
  {{- merge $fixed (default dict .values.labels) .root.Values.podLabels .root.Values.commonLabels $ours | toYaml | nindent 2 }}
{{- with merge (dict) (default dict .values.annotations) .root.Values.podAnnotations .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "endpoint-analytics.podSettings" -}}
automountServiceAccountToken: {{ eq .part "agent" }}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- $scheduling := default dict .values.scheduling }}
{{- with $scheduling.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $scheduling.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $scheduling.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $scheduling.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $scheduling.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml $scheduling.topologySpreadConstraints | nindent 2 }}
{{- else if has .part (list "worker" "query-service" "otlp") }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "endpoint-analytics.selector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{- define "endpoint-analytics.containerSettings" -}}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .values.resources | nindent 2 }}
{{- end -}}

{{/* The part's own variables are in `.variables`. Each name is there once, or a server-side apply would refuse the list:
the part's `extraEnv` replaces that of all containers, which replaces ours. */}}
{{- define "endpoint-analytics.env" -}}
{{- $ours := list (default "" .variables) -}}
{{- if has "kafka" .uses }}{{ $ours = append $ours (include "endpoint-analytics.kafkaVariables" .root) }}{{ end -}}
{{- if has "clickhouse" .uses }}{{ $ours = append $ours (include "endpoint-analytics.clickhouseVariables" .root) }}{{ end -}}
{{- $all := concat (join "\n" $ours | fromYamlArray) .root.Values.extraEnv .values.extraEnv -}}
{{- $last := dict -}}
{{- range $at, $variable := $all }}{{ $_ := set $last $variable.name $at }}{{ end -}}
env:
  {{- range $at, $variable := $all }}
  {{- if eq $at (get $last $variable.name) }}
  {{- list $variable | toYaml | nindent 2 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "endpoint-analytics.mounts" -}}
volumeMounts:
  - {name: scratch, mountPath: /tmp}
  {{- with include "endpoint-analytics.connectionMounts" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .mounts }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "endpoint-analytics.volumes" -}}
volumes:
  - name: scratch
    emptyDir:
      sizeLimit: {{ default "64Mi" .values.scratchSize }}
  {{- with include "endpoint-analytics.connectionVolumes" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .volumes }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "endpoint-analytics.extraArgs" -}}
{{- range . }}
- {{ . | quote }}
{{- end }}
{{- end -}}
