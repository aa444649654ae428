package await

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestTheAPIServerIsReadyWhenItsPathAnswers200(t *testing.T) {
	answers := []int{http.StatusForbidden, http.StatusInternalServerError, http.StatusOK}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(answers[len(asked)])
		asked = append(asked, r.URL.Path)
	}))
	defer server.Close()

	err := answer(&rest.Config{Host: server.URL}, "/readyz", time.Minute)

	if got := strings.Join(asked, " "); err != nil || got != "/readyz /readyz /readyz" {
		t.Errorf("%v after %v", err, got)
	}
}

func TestOneThatNeverIsIsTold(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for host, want := range map[string]string{refusing.URL: "it answers 403 Forbidden", gone.URL: "connection refused"} {
		if err := answer(&rest.Config{Host: host}, "/readyz", time.Millisecond); err == nil || !strings.Contains(err.Error(), want) {
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
