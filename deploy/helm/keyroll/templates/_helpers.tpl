{{- define "keyroll.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "keyroll.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What selects the pods of a component; no version in it, so that it never changes. Arguments: root, component. */}}
{{- define "keyroll.selector" -}}
app.kubernetes.io/name: {{ include "keyroll.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "keyroll.labels" -}}
{{- $root := index . 0 -}}
{{ include "keyroll.selector" . }}
app.kubernetes.io/part-of: keyroll
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "keyroll.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Arguments: root, component. */}}
{{- define "keyroll.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $account := (index $root.Values (index . 1)).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "keyroll.fullname" $root) (index . 1)) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end }}

{{- define "keyroll.schedulerIsDaemon" -}}
{{- if eq .Values.scheduler.kind "Deployment" -}}true{{- end -}}
{{- end }}

{{/* Pod Security "restricted"; fsGroup lets the process read what is mounted. */}}
{{- define "keyroll.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "keyroll.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Arguments: root, extra environment. */}}
{{- define "keyroll.env" -}}
{{- $root := index . 0 -}}
- name: KEYROLL_WORKER_ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: XDG_STATE_HOME
  value: /tmp
{{- with $root.Values.kafkaAuth }}
{{- if .existingSecret }}
- name: KEYROLL_KAFKA_SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .usernameKey | quote }}}}
- name: KEYROLL_KAFKA_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .passwordKey | quote }}}}
{{- end }}
{{- end }}
{{- if eq $root.Values.aws.identity "secret" }}
{{- $secret := required "aws.existingSecret names the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" $root.Values.aws.existingSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ . }}}}
{{- end }}
{{- end }}
{{- if ne $root.Values.aws.identity "instanceProfile" }}
- {name: AWS_EC2_METADATA_DISABLED, value: "true"}
{{- end }}
{{- with index . 1 }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name of the ConfigMap with the policies; empty: there are none. */}}
{{- define "keyroll.policyMap" -}}
{{- if .Values.policy.inline -}}{{ include "keyroll.fullname" . }}-policy{{- else -}}{{ .Values.policy.existingConfigMap }}{{- end -}}
{{- end }}

{{/* Mounts of a component. Arguments: root, list of what it needs (escrow, redis, logins, inventory, policy, notify), more of them. */}}
{{- define "keyroll.mounts" -}}
{{- $root := index . 0 -}}
{{- $needs := index . 1 -}}
- {name: config, mountPath: /etc/keyroll, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if has "escrow" $needs }}
- {name: escrow, mountPath: /run/keyroll/escrow, readOnly: true}
{{- end }}
{{- if and (has "redis" $needs) $root.Values.redis.existingSecret }}
- {name: redis, mountPath: /run/keyroll/redis, readOnly: true}
{{- end }}
{{- if $root.Values.kafkaTls.existingSecret }}
- {name: kafka-tls, mountPath: /run/keyroll/kafka-tls, readOnly: true}
{{- end }}
{{- if $root.Values.ca.existingConfigMap }}
- {name: ca, mountPath: /run/keyroll/ca, readOnly: true}
{{- end }}
{{- if $root.Values.profiles.existingConfigMap }}
- {name: profiles, mountPath: /run/keyroll/profiles, readOnly: true}
{{- end }}
{{- if and (has "policy" $needs) (include "keyroll.policyMap" $root) }}
- {name: policy, mountPath: /run/keyroll/policy, readOnly: true}
{{- end }}
{{- if and (has "notify" $needs) $root.Values.notify.existingSecret }}
- {name: notify, mountPath: /run/keyroll/notify, readOnly: true}
{{- end }}
{{- if has "logins" $needs }}
{{- range $root.Values.instanceLogins }}
- {name: logins-{{ .name }}, mountPath: /run/keyroll/logins/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- if and (has "inventory" $needs) (ne $root.Values.inventory.source "discover") }}
- {name: inventory, mountPath: /run/keyroll/inventory, readOnly: true}
{{- end }}
{{- with index . 2 }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Their volumes. Arguments: root, what it needs, name of the ConfigMap, more of them. */}}
{{- define "keyroll.volumes" -}}
{{- $root := index . 0 -}}
{{- $needs := index . 1 -}}
- name: config
  configMap:
    name: {{ index . 2 }}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- if has "escrow" $needs }}
- name: escrow
  secret:
    secretName: {{ required "escrow.existingSecret names the Secret that holds the escrow key" $root.Values.escrow.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- if and (has "redis" $needs) $root.Values.redis.existingSecret }}
- name: redis
  secret:
    secretName: {{ $root.Values.redis.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ $root.Values.redis.passwordKey | quote }}, path: password}]
{{- end }}
{{- if $root.Values.kafkaTls.existingSecret }}
- name: kafka-tls
  secret:
    secretName: {{ $root.Values.kafkaTls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- if $root.Values.ca.existingConfigMap }}
- name: ca
  configMap:
    name: {{ $root.Values.ca.existingConfigMap }}
    items: [{key: {{ $root.Values.ca.key | quote }}, path: ca.crt}]
{{- end }}
{{- if $root.Values.profiles.existingConfigMap }}
- name: profiles
  configMap:
    name: {{ $root.Values.profiles.existingConfigMap }}
{{- end }}
{{- if and (has "policy" $needs) (include "keyroll.policyMap" $root) }}
- name: policy
  configMap:
    name: {{ include "keyroll.policyMap" $root }}
    items: [{key: {{ ternary "policy.json" $root.Values.policy.key (ne $root.Values.policy.inline "") | quote }}, path: policy.json}]
{{- end }}
{{- if and (has "notify" $needs) $root.Values.notify.existingSecret }}
- name: notify
  secret:
    secretName: {{ $root.Values.notify.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ $root.Values.notify.urlKey | quote }}, path: url}]
{{- end }}
{{- if has "logins" $needs }}
{{- range $root.Values.instanceLogins }}
- name: logins-{{ .name }}
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- if has "inventory" $needs }}
{{- with $root.Values.inventory }}
{{- if eq .source "inline" }}
- name: inventory
  configMap:
    name: {{ include "keyroll.fullname" $root }}-inventory
{{- else if ne .source "discover" }}
{{- $existing := required (printf "inventory.existing names the %s" .source) .existing }}
- name: inventory
  {{- if eq .source "configMap" }}
  configMap:
    name: {{ $existing }}
  {{- else if eq .source "secret" }}
  secret:
    secretName: {{ $existing }}
    defaultMode: 0440
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ $existing }}
    readOnly: true
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with index . 3 }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* HTTP probes of a daemon. Health is the loop's heartbeat and asks nobody else; readiness paces rollouts only. Each pod that comes or goes
makes the group rebalance: that is no reason to call one unready that was ready, as a rollout takes unready old pods away at once. */}}
{{- define "keyroll.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 2
  failureThreshold: {{ max 1 (div .Values.probes.startupSeconds 2) }}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ max 1 (div .Values.probes.livenessSeconds 10) }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{- define "keyroll.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The checksum of all that a process reads at its start only. */}}
{{- define "keyroll.configChecksum" -}}
{{- include "keyroll.conf" . | sha256sum -}}
{{- end }}

{{- define "keyroll.scaleBehaviour" -}}
# Up as soon as it is plain that no limit binds; down slowly, as each pod that goes moves partitions.
scaleUp:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleUpSeconds }}
  policies: [{type: Percent, value: 100, periodSeconds: 30}]
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
  policies: [{type: Pods, value: 1, periodSeconds: 60}]
{{- end }}
