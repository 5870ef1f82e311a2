{{/* Name of the objects: that of the release, and "runlog" unless it is in that. */}}
{{- define "runlog.name" -}}
{{- if contains "runlog" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-runlog" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which pods are selected: call with the chart's scope and a component. */}}
{{- define "runlog.selector" -}}
app.kubernetes.io/name: runlog
app.kubernetes.io/instance: {{ .scope.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "runlog.labels" -}}
{{ include "runlog.selector" . }}
app.kubernetes.io/version: {{ .scope.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .scope.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .scope.Chart.Name .scope.Chart.Version }}
{{- end -}}

{{- define "runlog.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "runlog.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "runlog.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* What both kinds of pods have in common: accounts, placement, and no rights on their machine. */}}
{{- define "runlog.pod" -}}
serviceAccountName: {{ include "runlog.serviceAccount" .scope }}
automountServiceAccountToken: false
{{- with .scope.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "runlog.selector" . | nindent 8 }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 8480
  runAsGroup: 8480
  fsGroup: 8480
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "runlog.container" -}}
image: {{ include "runlog.image" .scope }}
imagePullPolicy: {{ .scope.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .values.resources | nindent 2 }}
{{- end -}}

{{/* The catalog and the bucket, for both kinds of pods. */}}
{{- define "runlog.archive" -}}
- name: RUNLOG_CATALOG
  valueFrom:
    secretKeyRef:
      name: {{ .Values.catalog.secretName }}
      key: {{ .Values.catalog.secretKey }}
{{- end -}}

{{- define "runlog.envFrom" -}}
- configMapRef:
    name: {{ include "runlog.name" .scope }}
{{- with .scope.Values.objects.secretName }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- range .values.envSecrets }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- end -}}

{{/* The ports on which services receive syslog: a list of dictionaries with name, port and protocol. */}}
{{- define "runlog.syslog" -}}
{{- $ports := list -}}
{{- range $name := list "tcp" "tls" "udp" -}}
{{- with get $.Values.server.syslog $name -}}
{{- $protocol := ternary "UDP" "TCP" (eq $name "udp") -}}
{{- $ports = append $ports (dict "name" (printf "syslog-%s" $name) "port" (int .) "protocol" $protocol) -}}
{{- end -}}
{{- end -}}
{{- if and $ports (not $.Values.server.settings) -}}
{{- fail "server.syslog has ports, but server.settings has no [syslog] table" -}}
{{- end -}}
{{- dict "ports" $ports | toJson -}}
{{- end -}}
