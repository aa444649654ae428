package untranslated_test // of its own, for else options would be initialised first

import (
	"testing"

	"github.com/chai2010/gettext-go"
	_ "k8s.io/kubectl/pkg/cmd/options" // translates while it is initialised
	"k8s.io/kubectl/pkg/util/i18n"

	_ "kindasync.dev/node-image/kube/untranslated"
)

func TestTranslationsAreNotLoaded(t *testing.T) {
	if domain := gettext.SetDomain(""); domain == "k8s" {
		t.Error("they were, before this package was initialised")
	}
	if text := i18n.T("Display resource usage"); text != "Display resource usage" {
		t.Errorf("%q", text)
	}
}
