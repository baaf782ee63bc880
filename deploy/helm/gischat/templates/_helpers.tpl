{{- define "gischat.name" -}}
{{- if contains "gischat" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-gischat{{ end }}
{{- end }}

{{/* Of one part: dict "root" $ "part" "fronts" */}}
{{- define "gischat.selector" -}}
app.kubernetes.io/name: gischat
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "gischat.labels" -}}
{{ include "gischat.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* What every container of ours may: nothing but its sockets and a /tmp */}}
{{- define "gischat.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
