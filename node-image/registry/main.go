// Command registry serves registries of the distribution project, in a container of a cluster: one for each configuration
// file that it is given, at the address that is written there. Beside the program of that project it is smaller, and does for
// several what that one does for one: a pull-through cache has one remote.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: registry CONFIGURATION...")
	}
	if len(os.Args) == 3 && os.Args[2] == "get" {
		tell(os.Args[1])
		return
	}
	ended := make(chan error)
	for _, path := range os.Args[1:] {
		config, err := read(path)
		if err != nil {
			log.Fatalf("%s: %v", path, err)
		}
		listener, err := net.Listen("tcp", config.HTTP.Addr)
		if err != nil {
			log.Fatal(err)
		}
		app := handlers.NewApp(context.Background(), config) // panics with what it cannot do
		go func() { ended <- http.Serve(listener, app) }()
	}
	fmt.Println("kindasync: registry ready")
	log.Fatal(<-ended)
}

func read(path string) (*configuration.Configuration, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return configuration.Parse(file)
}

// tell makes a file of credentials a credential helper: one whose first line names this program as its interpreter.
// Only with a helper does a cache start while its remote cannot be reached: for credentials in its configuration, it
// asks the remote at once where they are good for.
func tell(path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	_, credentials, _ := bytes.Cut(content, []byte("\n"))
	os.Stdout.Write(credentials)
}
