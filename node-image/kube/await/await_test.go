package await

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// configFor is a kubeconfig for a server.
func configFor(t *testing.T, server string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.conf")
	text := "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], " +
		"users: [{name: a, user: {token: t}}], clusters: [{name: a, cluster: {server: '" + server + "'}}]}"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheAPIServerIsReadyWhenItsPathAnswers200(t *testing.T) {
	answers := []int{http.StatusForbidden, http.StatusInternalServerError, http.StatusOK}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(answers[len(asked)])
		asked = append(asked, r.URL.Path)
	}))
	defer server.Close()

	err := ready(configFor(t, server.URL), "/readyz", time.Minute)

	if got := strings.Join(asked, " "); err != nil || got != "/readyz /readyz /readyz" {
		t.Errorf("%v after %v", err, got)
	}
}

func TestOneThatNeverIsIsTold(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for config, want := range map[string]string{
		configFor(t, refusing.URL): "it answers 403 Forbidden",
		configFor(t, gone.URL):     "connection refused",
		"nowhere":                  "no such file",
	} {
		if err := ready(config, "/readyz", time.Millisecond); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want one with %q", err, want)
		}
	}
}

func TestTheKubeconfigIsThatOfTheProgram(t *testing.T) {
	for args, want := range map[string]string{
		"--leader-elect=false --kubeconfig=/etc/kubernetes/scheduler.conf --v=2": "/etc/kubernetes/scheduler.conf",
		"--authentication-kubeconfig=/b.conf --kubeconfig=/a.conf":               "/a.conf",
		"--v=2": "",
	} {
		if got := kubeconfig(strings.Fields(args)); got != want {
			t.Errorf("%q for %q; want %q", got, args, want)
		}
	}
}
