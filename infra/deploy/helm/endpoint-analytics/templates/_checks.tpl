{{/* Combinations of values that a schema cannot tell, refused with what to set. Included by worker.yaml. */}}

{{- define "endpoint-analytics.checks" -}}
{{- $kafka := .Values.kafka -}}
{{- $sasl := hasPrefix "SASL" $kafka.securityProtocol -}}
{{- $tls := hasSuffix "SSL" $kafka.securityProtocol -}}
{{- $fullname := include "endpoint-analytics.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "%q cannot begin the name of a service: it takes lower-case letters, digits and -, and a letter first; choose another release name, or set fullnameOverride" $fullname) -}}
{{- end -}}
{{- if not $kafka.brokers -}}
{{- fail "kafka.brokers is not set: list the bootstrap servers, for example --set 'kafka.brokers={kafka-0.kafka:9092}'" -}}
{{- end -}}
{{- if not .Values.clickhouse.url -}}
{{- fail "clickhouse.url is not set: the HTTP interface, for example --set clickhouse.url=http://clickhouse.clickhouse:8123" -}}
{{- end -}}
{{- if and $sasl (not (and $kafka.sasl.username $kafka.sasl.passwordSecret.name)) -}}
{{- fail (printf "kafka.securityProtocol is %s: set kafka.sasl.username, and kafka.sasl.passwordSecret.name to a secret with the password" $kafka.securityProtocol) -}}
{{- end -}}
{{- if and (not $sasl) (or $kafka.sasl.username $kafka.sasl.passwordSecret.name) -}}
{{- fail (printf "kafka.sasl would have no effect: kafka.securityProtocol is %s; set it to SASL_SSL (or SASL_PLAINTEXT), or remove kafka.sasl" $kafka.securityProtocol) -}}
{{- end -}}
{{- if and (not $tls) (or $kafka.tls.caSecret.name $kafka.tls.certificateSecret.name (not $kafka.tls.checkHostname)) -}}
{{- fail (printf "kafka.tls would have no effect: kafka.securityProtocol is %s; set it to SSL or SASL_SSL, or remove kafka.tls" $kafka.securityProtocol) -}}
{{- end -}}
{{- with $kafka.tls.certificateSecret -}}
{{- if and .passwordKey (not .name) -}}
{{- fail "kafka.tls.certificateSecret.passwordKey would have no effect: set kafka.tls.certificateSecret.name too" -}}
{{- end -}}
{{- end -}}
{{- with .Values.clickhouse -}}
{{- if and .caSecret.name (not (hasPrefix "https://" .url)) -}}
{{- fail "clickhouse.caSecret would have no effect: clickhouse.url does not begin with https://" -}}
{{- end -}}
{{- if and .caSecret.name $tls (not $kafka.tls.caSecret.name) -}}
{{- fail "clickhouse.caSecret replaces the system's CAs: set kafka.tls.caSecret too, to the CA of the brokers" -}}
{{- end -}}
{{- end -}}
{{- with .Values.retention -}}
{{- if or (gt (int .tenSecondsDays) (int .oneMinuteDays)) (gt (int .oneMinuteDays) (int .oneHourDays)) -}}
{{- fail "retention: tenSecondsDays may not be longer than oneMinuteDays, nor that than oneHourDays" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.topics.enabled (gt (int .Values.worker.replicas) (int .Values.topics.partitions)) -}}
{{- fail (printf "worker.replicas is %d, but there are only %d partitions (topics.partitions): a worker without one is never ready, and an upgrade would wait for it" (int .Values.worker.replicas) (int .Values.topics.partitions)) -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: for example [{host: analytics.example.com, path: /}]" -}}
{{- end -}}
{{- with .Values.queryService -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- fail "queryService.autoscaling: minReplicas is larger than maxReplicas" -}}
{{- end -}}
{{- if ge (int .drainSeconds) (int .terminationGracePeriodSeconds) -}}
{{- fail "queryService.drainSeconds must be shorter than queryService.terminationGracePeriodSeconds, which includes it" -}}
{{- end -}}
{{- end -}}
{{- with .Values.agent.image -}}
{{- if and (not .repository) (or .tag .digest) -}}
{{- fail "agent.image.tag and .digest would have no effect: set agent.image.repository too" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.otlp.enabled (not .Values.otlp.tokenSecret.name) -}}
{{- fail "otlp.tokenSecret.name is not set: a secret with the token that senders must present" -}}
{{- end -}}
{{- with .Values.prometheus -}}
{{- if and .caSecret.name (not $.Values.queryService.tls.secretName) -}}
{{- fail "prometheus.caSecret would have no effect: queryService.tls.secretName is not set" -}}
{{- end -}}
{{- if and (or .monitors.enabled .endpoints.enabled) (not .tokenSecret.name) -}}
{{- fail "prometheus.tokenSecret.name is not set: a secret with a token, see the chart's README" -}}
{{- end -}}
{{- end -}}
{{- end -}}
