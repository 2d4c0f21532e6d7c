//go:build unix

package command_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/warrenq/warren/handlers/command"
	"github.com/warrenq/warren/jobstore"
)

// A kind whose jobs are run by a shell script. In warren.yaml:
//
//	kinds:
//	  greet: {command: {run: ["/bin/sh", "-c", "…"]}}
func Example() {
	handle, err := command.New(command.Config{
		Run: []string{"/bin/sh", "-c", `
			read -r job
			case $job in
			*'"to":""'*) echo "nobody to greet" >&2; exit 65 ;;
			esac`},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, args := range []string{`{"to":"you"}`, `{"to":""}`} {
		job := &jobstore.Job{ID: 1, Kind: "greet", Args: json.RawMessage(args), Attempts: 1}
		fmt.Println(args, "says", handle(context.Background(), job))
	}
	// Output:
	// {"to":"you"} says <nil>
	// {"to":""} says permanent: exit status 65: nobody to greet
}
