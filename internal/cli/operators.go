package cli

import "github.com/spf13/cobra"

// operatorCmds are the commands with which people run an installation.
func operatorCmds(env *Env) []*cobra.Command {
	return []*cobra.Command{
		migrateUpCmd(env, "update-schema"), checkCmd(env), clearFinishedCmd(env), pruneCmd(env),
		queuesCmd(env), schedulesCmd(env), flowsCmd(env), kindsCmd(env), pauseCmd(env), resumeCmd(env), pausesCmd(env), changesCmd(env), consumersCmd(env),
		reloadConsumersCmd(env), restartCmd(env), reconcileCmd(env), keysCmd(env), benchCmd(env), manCmd(env), versionCmd(env),
	}
}
