// Keeps what the e2e program needs in go.mod and go.sum; nothing of it is compiled.
package e2e

import _ "k8s.io/kubernetes/test/e2e"
