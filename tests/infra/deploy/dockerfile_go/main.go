// Checks a Dockerfile with the rules of `docker build --check`, from BuildKit's own library, and prints the targets.
// Base images are taken to be Linux with a PATH: nothing is fetched.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

type images struct{}

func (images) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/bin:/usr/bin:/bin"]}}`
	return ref, digest.FromString(config), []byte(config), nil
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	platform := &ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	status := 0
	for _, target := range os.Args[2:] {
		source := llb.NewSourceMap(nil, "Dockerfile", "dockerfile", text)
		source.Definition = &llb.Definition{}
		options := dockerfile2llb.ConvertOpt{MetaResolver: images{}, TargetPlatform: platform, SourceMap: source}
		options.Config.Target = target
		found, err := dockerfile2llb.DockerfileLint(context.Background(), text, options)
		if err != nil {
			fmt.Fprintln(os.Stderr, target, err)
			os.Exit(2)
		}
		for _, warning := range found.Warnings {
			fmt.Printf("%s: %s: %s\n", target, warning.RuleName, warning.Detail)
			status = 1
		}
		if found.Error != nil {
			fmt.Printf("%s: %s\n", target, found.Error.Message)
			status = 1
		}
	}
	os.Exit(status)
}
