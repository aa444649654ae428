// Package untranslated keeps kubectl's translations from programs that are not kubectl. One of its packages translates a text while it is
// initialised, in every program of this file; to load the translations for that takes 10 of the 45 ms that each of them needs before its
// main function.
//
// It has to be initialised before the packages that translate. Go takes, of those that are ready, the first in the alphabet: this one needs
// nothing that comes after it, while those of kubectl's commands wait for packages of sigs.k8s.io.
package untranslated

import (
	"os"
	"path/filepath"

	"k8s.io/kubectl/pkg/util/i18n"
)

func init() {
	if filepath.Base(os.Args[0]) != "kubectl" {
		_ = i18n.SetLoadTranslationsFunc(func() error { return nil })
	}
}
