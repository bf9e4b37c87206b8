{{/* Egress rules. Arguments: root, list of what is reached (kafka, redis, https). */}}
{{- define "keyroll.egress" -}}
{{- $root := index . 0 -}}
{{- $policy := $root.Values.networkPolicy -}}
- to: {{- toYaml $policy.dnsTo | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- range index . 1 }}
{{- $rule := index $policy . }}
- ports:
    {{- range $rule.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $rule.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if and (has "https" (index . 1)) (eq $root.Values.aws.identity "podIdentity") }}
# The agent of EKS Pod Identity on the node.
- to:
    - ipBlock: {cidr: 169.254.170.23/32}
    - ipBlock: {cidr: "fd00:ec2::23/128"}
  ports:
    - {port: 80, protocol: TCP}
{{- end }}
{{- if and (has "https" (index . 1)) (eq $root.Values.aws.identity "instanceProfile") }}
# The node's metadata service, whose hop limit must be 2.
- to:
    - ipBlock: {cidr: 169.254.169.254/32}
  ports:
    - {port: 80, protocol: TCP}
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
