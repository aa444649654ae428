// One program that is every Kubernetes program of a node: it does what the name it is called by says.
//
// All component images and the node itself share this one file (hard disk, page cache and layer), and one build links
// what the programs have in common once: 185 MB instead of about 700.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJob.spec.timeZone

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"kindasync.dev/node-image/kube/await"
	"kindasync.dev/node-image/kube/crictl"
	"kindasync.dev/node-image/kube/podnetwork"
	"kindasync.dev/node-image/kube/roles"
	"kindasync.dev/node-image/kube/snapshot"
	_ "kindasync.dev/node-image/kube/untranslated"
)

// corednsPlugins is the order in which CoreDNS runs its plugins: upstream's plugin.cfg, less what nothing in a cluster's Corefile uses.
var corednsPlugins = []string{
	"reload", "ready", "health", "prometheus", "errors", "log", "loadbalance", "rewrite", "autopath", "cache", "template", "hosts", "kubernetes", "loop", "forward",
}

// programs are started as their own main packages upstream start them.
var programs = map[string]func(){
	"kube-apiserver":          func() { run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() { await.APIServer(os.Args[1:]); run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() { await.APIServer(os.Args[1:]); run(scheduler.NewSchedulerCommand()) },
	"kube-proxy":              func() { run(proxy.NewProxyCommand()) },
	"kubelet":                 func() { run(kubelet.NewKubeletCommand(context.Background())) },
	"kubeadm":                 func() { exit(kubeadm.Run()) },
	"kubectl":                 runKubectl,
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"coredns":                 runCoreDNS,
	"podnetwork":              func() { exit(podnetwork.Main()) },
	"crictl":                  func() { exit(crictl.Main(os.Args[1:])) },
	"bootstrap-roles":         func() { exit(roles.Main()) },
	"snapshot":                func() { exit(snapshot.Main(os.Args[1:])) },
}

func main() {
	name := filepath.Base(os.Args[0])
	program, known := programs[name]
	if !known {
		exit(fmt.Errorf("%q is not one of the programs of this file: call it by the name of one", name))
	}
	program()
}

func run(command *cobra.Command) { os.Exit(cli.Run(command)) }

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runKubectl() {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) // as kubectl's own main: -v counts from the first line on
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}

func runCoreDNS() {
	dnsserver.Directives = corednsPlugins
	coremain.Run()
}
