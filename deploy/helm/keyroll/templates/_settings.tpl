{{/* Milliseconds of a duration as keyroll writes it: 25h, 1m30s, 500ms, 0. */}}
{{- define "keyroll.durationMs" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $sum = add $sum (mul (regexFind "[0-9]+" . | int64) (index $units $unit)) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* A setting's value as it stands in keyroll.conf. The schema has checked types; numbers come as floats. */}}
{{- define "keyroll.settingText" -}}
{{- if kindIs "slice" . -}}{{ join "," . }}
{{- else if kindIs "float64" . -}}{{ if eq (float64 (int64 .)) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else -}}{{ . }}
{{- end -}}
{{- end }}

{{/* Refuses durations outside of the setting's range; the schema cannot tell 90m from 1h. */}}
{{- define "keyroll.checkRange" -}}
{{- $row := index . 0 -}}
{{- $text := index . 1 -}}
{{- if eq $row.type "duration" -}}
{{- $ms := include "keyroll.durationMs" $text | int64 -}}
{{- if or (lt $ms (include "keyroll.durationMs" $row.min | int64)) (gt $ms (include "keyroll.durationMs" $row.max | int64)) -}}
{{- fail (printf "config.%s: %s is out of range: %s..%s" $row.name $text $row.min $row.max) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Required settings, and waits that must fit into each other. */}}
{{- define "keyroll.checkValues" -}}
{{- $_ := required "config.brokers: name the Kafka servers, host:port,..." .Values.config.brokers -}}
{{- $_ := required "config.redis_url: name the Redis server, redis://host:port or rediss://host:port" .Values.config.redis_url -}}
{{- $drain := include "keyroll.durationMs" (default "45s" .Values.config.drain_timeout) | int64 -}}
{{- if gt (add $drain 10000) (mul 1000 (int64 .Values.worker.terminationGracePeriodSeconds)) -}}
{{- fail "worker.terminationGracePeriodSeconds must be at least 10 s more than config.drain_timeout" -}}
{{- end -}}
{{- if and (eq .Values.inventory.source "discover") (not .Values.config.inventory_discover) -}}
{{- fail "inventory.source is discover: name the accounts in config.inventory_discover" -}}
{{- end -}}
{{- if and .Values.policy.existingConfigMap .Values.policy.inline -}}
{{- fail "policy.existingConfigMap and policy.inline: one of them" -}}
{{- end -}}
{{- if and .Values.notify.existingSecret .Values.config.notify_url -}}
{{- fail "notify.existingSecret and config.notify_url: one of them" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- end }}

{{/* The text of keyroll.conf. */}}
{{- define "keyroll.conf" -}}
{{- include "keyroll.checkValues" . -}}
{{- $rows := dict -}}
{{- range (.Files.Get "files/settings.json" | fromJson).settings -}}
{{- $_ := set $rows .name . -}}
{{- end -}}
# Made by Helm: change the values of the release instead.
{{- range $name, $value := .Values.config }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{- $text := include "keyroll.settingText" $value }}
{{- include "keyroll.checkRange" (list (index $rows $name) $text) }}
{{ $name }} = {{ $text }}
{{- end }}
{{- end }}
listen = {{ .Values.metrics.address }}:{{ .Values.metrics.port }}
{{- $files := list }}
{{- range .Values.escrow.keys }}
{{- $files = append $files (printf "/run/keyroll/escrow/%s" .) }}
{{- end }}
escrow_key_file = {{ join "," $files }}
{{- if .Values.redis.existingSecret }}
redis_password_file = /run/keyroll/redis/password
{{- end }}
{{- if .Values.ca.existingConfigMap }}
ca_file = /run/keyroll/ca/ca.crt
{{- end }}
{{- if .Values.profiles.existingConfigMap }}
profiles_dir = /run/keyroll/profiles
{{- end }}
{{- if or .Values.policy.existingConfigMap .Values.policy.inline }}
policy_file = /run/keyroll/policy/policy.json
{{- end }}
{{- if .Values.notify.existingSecret }}
notify_url_file = /run/keyroll/notify/url
{{- end }}
{{- if ne .Values.inventory.source "discover" }}
inventory = /run/keyroll/inventory/{{ if eq .Values.inventory.source "inline" }}inventory.csv{{ else }}{{ .Values.inventory.key }}{{ end }}
{{- end }}
{{- if and .Values.ca.existingConfigMap (not (hasKey .Values.kafkaConfig "ssl.ca.location")) }}
kafka.ssl.ca.location = /run/keyroll/ca/ca.crt
{{- end }}
{{- if .Values.kafkaTls.existingSecret }}
kafka.ssl.certificate.location = /run/keyroll/kafka-tls/tls.crt
kafka.ssl.key.location = /run/keyroll/kafka-tls/tls.key
{{- end }}
{{- range $name, $value := .Values.kafkaConfig }}
kafka.{{ $name }} = {{ include "keyroll.settingText" $value }}
{{- end }}
{{ end }}
