{{/* How a container reaches Kafka and ClickHouse: variables, and secrets as files, with the volumes for them. */}}

{{- define "endpoint-analytics.kafkaVariables" -}}
{{- $kafka := .Values.kafka -}}
- {name: ENDPOINT_ANALYTICS_KAFKA, value: {{ join "," $kafka.brokers | quote }}}
- {name: ENDPOINT_ANALYTICS_TOPIC_PREFIX, value: {{ $kafka.topicPrefix | quote }}}
- {name: ENDPOINT_ANALYTICS_KAFKA_SECURITY_PROTOCOL, value: {{ $kafka.securityProtocol | quote }}}
{{- if hasPrefix "SASL" $kafka.securityProtocol }}
- {name: ENDPOINT_ANALYTICS_KAFKA_SASL_MECHANISM, value: {{ $kafka.sasl.mechanism | quote }}}
- {name: ENDPOINT_ANALYTICS_KAFKA_USERNAME, value: {{ $kafka.sasl.username | quote }}}
- {name: ENDPOINT_ANALYTICS_KAFKA_PASSWORD_FILE, value: /etc/endpoint-analytics/kafka/password}
{{- end }}
{{- if hasSuffix "SSL" $kafka.securityProtocol }}
{{- if $kafka.tls.caSecret.name }}
- {name: ENDPOINT_ANALYTICS_KAFKA_CA_FILE, value: /etc/endpoint-analytics/kafka/ca.pem}
{{- end }}
{{- if $kafka.tls.certificateSecret.name }}
- {name: ENDPOINT_ANALYTICS_KAFKA_CERTIFICATE_FILE, value: /etc/endpoint-analytics/kafka/certificate.pem}
- {name: ENDPOINT_ANALYTICS_KAFKA_KEY_FILE, value: /etc/endpoint-analytics/kafka/key.pem}
{{- if $kafka.tls.certificateSecret.passwordKey }}
- {name: ENDPOINT_ANALYTICS_KAFKA_KEY_PASSWORD_FILE, value: /etc/endpoint-analytics/kafka/key-password}
{{- end }}
{{- end }}
{{- if not $kafka.tls.checkHostname }}
- {name: ENDPOINT_ANALYTICS_KAFKA_CHECK_HOSTNAME, value: "off"}
{{- end }}
{{- end }}
{{- end -}}

{{/* The sources of Kafka's secret files, "" if there are none. */}}
{{- define "endpoint-analytics.kafkaSources" -}}
{{- $kafka := .Values.kafka -}}
{{- if hasPrefix "SASL" $kafka.securityProtocol }}
- secret:
    name: {{ $kafka.sasl.passwordSecret.name | quote }}
    items: [{key: {{ $kafka.sasl.passwordSecret.key | quote }}, path: password}]
{{- end }}
{{- if hasSuffix "SSL" $kafka.securityProtocol }}
{{- with $kafka.tls.caSecret }}{{ if .name }}
- secret:
    name: {{ .name | quote }}
    items: [{key: {{ .key | quote }}, path: ca.pem}]
{{- end }}{{ end }}
{{- with $kafka.tls.certificateSecret }}{{ if .name }}
- secret:
    name: {{ .name | quote }}
    items:
      - {key: {{ .certificateKey | quote }}, path: certificate.pem}
      - {key: {{ .keyKey | quote }}, path: key.pem}
      {{- if .passwordKey }}
      - {key: {{ .passwordKey | quote }}, path: key-password}
      {{- end }}
{{- end }}{{ end }}
{{- end }}
{{- end -}}

{{- define "endpoint-analytics.clickhouseVariables" -}}
{{- with .Values.clickhouse -}}
- {name: ENDPOINT_ANALYTICS_CLICKHOUSE_URL, value: {{ .url | quote }}}
- {name: ENDPOINT_ANALYTICS_CLICKHOUSE_USER, value: {{ .user | quote }}}
{{- if .passwordSecret.name }}
- {name: ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD_FILE, value: /etc/endpoint-analytics/clickhouse/password}
{{- end }}
- {name: ENDPOINT_ANALYTICS_CLICKHOUSE_DATABASE, value: {{ .database | quote }}}
{{- if .cluster }}
- {name: ENDPOINT_ANALYTICS_CLICKHOUSE_CLUSTER, value: {{ .cluster | quote }}}
{{- end }}
{{- if .caSecret.name }}
- {name: SSL_CERT_FILE, value: /etc/endpoint-analytics/clickhouse/ca.pem}
{{- end }}
{{- end }}
{{- end -}}

{{/* The sources of ClickHouse's secret files, "" if there are none. */}}
{{- define "endpoint-analytics.clickhouseSources" -}}
{{- with .Values.clickhouse.passwordSecret }}{{ if .name }}
- secret:
    name: {{ .name | quote }}
    items: [{key: {{ .key | quote }}, path: password}]
{{- end }}{{ end }}
{{- with .Values.clickhouse.caSecret }}{{ if .name }}
- secret:
    name: {{ .name | quote }}
    items: [{key: {{ .key | quote }}, path: ca.pem}]
{{- end }}{{ end }}
{{- end -}}

{{/* Volumes of the connections in `.uses`, a list of kafka and clickhouse. */}}
{{- define "endpoint-analytics.connectionVolumes" -}}
{{- $sources := include "endpoint-analytics.kafkaSources" .root | trim -}}
{{- if and (has "kafka" .uses) $sources }}
- name: kafka
  projected:
    defaultMode: 0440
    sources:
      {{- $sources | nindent 6 }}
{{- end }}
{{- $sources = include "endpoint-analytics.clickhouseSources" .root | trim -}}
{{- if and (has "clickhouse" .uses) $sources }}
- name: clickhouse
  projected:
    defaultMode: 0440
    sources:
      {{- $sources | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "endpoint-analytics.connectionMounts" -}}
{{- if and (has "kafka" .uses) (include "endpoint-analytics.kafkaSources" .root) }}
- {name: kafka, mountPath: /etc/endpoint-analytics/kafka, readOnly: true}
{{- end }}
{{- if and (has "clickhouse" .uses) (include "endpoint-analytics.clickhouseSources" .root) }}
- {name: clickhouse, mountPath: /etc/endpoint-analytics/clickhouse, readOnly: true}
{{- end }}
{{- end -}}
