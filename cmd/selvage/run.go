package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/control"
	"github.com/selvage-edge/selvage/node"
)

// runFlags are the flags of run. A flag goes before the environment, that
// before the file, that before the default.
type runFlags struct {
	nodeFile, origin, listen, admin, data string
	files                                 []string
}

func runCommand() *cobra.Command {
	f := new(runFlags)
	cmd := &cobra.Command{
		Use:   "run [-c NODE.yaml] [SERVICE.yaml|FOLDER…]",
		Short: "Serve: the services of the files, or one origin without a file",
		Long: `Serve until SIGTERM or Ctrl-C, which drain; a second one ends at once.
SIGHUP reads the files again and keeps what runs if they are wrong.

  selvage run --origin http://127.0.0.1:3000         one origin, cached, no file
  selvage run shop.yaml                              one service
  selvage run -c node.yaml /etc/selvage/services     all *.yaml of a folder

Without a file and without --origin it takes ./selvage.yaml, then
$XDG_CONFIG_HOME/selvage/selvage.yaml, then /etc/selvage/selvage.yaml.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.files = args
			if f.origin != "" && len(args) > 0 {
				return &usageError{cmd.CommandPath(), errors.New("--origin and service files exclude each other")}
			}
			return serve(cmd, f)
		},
		ValidArgsFunction: yamlFiles,
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.nodeFile, "config", "c", os.Getenv("SELVAGE_CONFIG"), "node file ($SELVAGE_CONFIG)")
	fl.StringVar(&f.origin, "origin", "", "serve this one origin, such as http://127.0.0.1:3000, without a file")
	fl.StringVar(&f.listen, "listen", os.Getenv("SELVAGE_LISTEN"), "address for clients, instead of the node file's ($SELVAGE_LISTEN)")
	fl.StringVar(&f.admin, "admin", os.Getenv("SELVAGE_ADMIN"), "admin address, or off, instead of the node file's ($SELVAGE_ADMIN)")
	fl.StringVar(&f.data, "data", os.Getenv("SELVAGE_DATA"), "data folder, instead of the node file's ($SELVAGE_DATA)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func yamlFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// load reads what the flags name. Problems are printed as they are.
func (f *runFlags) load() (selvage.Config, error) {
	nodeFile := f.nodeFile
	if nodeFile == "" {
		nodeFile = config.FindNode()
	}
	files, err := serviceFiles(f.files)
	if err != nil {
		return selvage.Config{}, err
	}
	if len(files) == 0 && f.origin == "" {
		found := config.FindService()
		if found == "" {
			return selvage.Config{}, errors.New("nothing to serve: name a service file, or an origin with --origin URL")
		}
		files = []string{found}
	}
	l, err := config.Load(nodeFile, files)
	if err != nil {
		return selvage.Config{}, err
	}
	conf := l.Config
	if f.origin != "" {
		s, err := config.Quick(f.origin)
		if err != nil {
			return selvage.Config{}, err
		}
		conf.Services = []selvage.Service{s}
	}
	return conf, f.override(&conf.Node)
}

// override puts the flags over the node file.
func (f *runFlags) override(n *selvage.Node) error {
	if f.listen != "" {
		n.Listen = []selvage.Listener{{Address: f.listen}}
	}
	if f.admin != "" {
		n.Admin.Address = f.admin
	}
	if f.data != "" {
		n.Data = f.data
	}
	if n.Data == "" {
		n.Data = dataFolders()[0]
	}
	if n.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("the machine's name: %w", err)
		}
		n.Name = selvage.NodeName(host)
	}
	// The flags are checked as the file is.
	return n.Validate().Err()
}

// serviceFiles puts the *.yaml files of folders in their place, sorted.
func serviceFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, arg)
			continue
		}
		found, err := filepath.Glob(filepath.Join(arg, "*.yaml"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("folder %s has no *.yaml file", arg)
		}
		slices.Sort(found)
		files = append(files, found...)
	}
	return files, nil
}

// dataFolders are where a node keeps its state if nobody says where, the first
// one being its own choice.
func dataFolders() []string {
	var folders []string
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		first, _, _ := strings.Cut(dir, ":")
		folders = append(folders, first)
	}
	if os.Getuid() != 0 {
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			home, err := os.UserHomeDir()
			if err == nil {
				state = filepath.Join(home, ".local", "state")
			}
		}
		if state != "" {
			folders = append(folders, filepath.Join(state, "selvage"))
		}
	}
	return append(folders, "/var/lib/selvage")
}

// serve runs a node with its control API until the context ends.
func serve(cmd *cobra.Command, f *runFlags) error {
	conf, err := f.load()
	if err != nil {
		return sayProblems(cmd.ErrOrStderr(), err)
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	opened, err := systemdListeners()
	if err != nil {
		return err
	}
	e, err := newEdge(conf, log, opened)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	greet(cmd.ErrOrStderr(), newUI(os.Stderr), e, &conf)
	return e.run(cmd.Context(), hup, func() (selvage.Config, error) { return f.load() })
}

// sayProblems prints mistakes in files as they are, without a prefix that
// would hide their place.
func sayProblems(w io.Writer, err error) error {
	problems, ok := errors.AsType[selvage.Problems](err)
	if !ok {
		return err
	}
	fmt.Fprintln(w, problems.Error())
	return &saidError{exitFailed}
}

func greet(w io.Writer, u ui, e *edge, conf *selvage.Config) {
	for i, addr := range e.node.Addrs() {
		scheme := "http"
		if conf.Node.Listen[i].TLS {
			scheme = "https"
		}
		fmt.Fprintf(w, "%s serving  %s\n", u.okGlyph(), u.link(scheme+"://"+addr.String()))
	}
	for i := range conf.Services {
		s := &conf.Services[i]
		fmt.Fprintf(w, "%s service  %s for %s, %s, revision %s\n", u.okGlyph(), u.strong(string(s.Service)),
			strings.Join(s.Hosts, ", "), count(len(s.Routes), "route"), config.Revision(*s))
	}
	if conf.Node.Admin.Address != "off" {
		fmt.Fprintf(w, "%s admin    %s\n", u.okGlyph(), u.link("http://"+conf.Node.Admin.Address+"/metrics"))
	}
	if ca := e.node.AuthorityPath(); ca != "" {
		fmt.Fprintf(w, "%s authority for development: curl --cacert %s\n", u.watchGlyph(), ca)
	}
}

// edge is a node with its control API.
type edge struct {
	node    *node.Node
	control *control.Server
	log     *slog.Logger
}

func newEdge(conf selvage.Config, log *slog.Logger, opened map[string]net.Listener) (*edge, error) {
	if err := os.MkdirAll(conf.Node.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w; name another with --data", err)
	}
	n, err := node.New(node.Options{Config: conf, Version: versionString(), Log: log, Opened: opened})
	if err != nil {
		return nil, err
	}
	return &edge{n, &control.Server{
		Node: n, Admin: conf.Node.Admin, Data: conf.Node.Data, Version: versionString(), Log: log,
		Listener: opened[conf.Node.Admin.Address],
	}, log}, nil
}

// run serves until ctx ends. The control API stays until the node has drained,
// so that the drain can be watched.
func (e *edge) run(ctx context.Context, hup <-chan os.Signal, load func() (selvage.Config, error)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	controlCtx, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	controlEnded := make(chan error, 1)
	go func() { // waited for below
		controlEnded <- e.control.Run(controlCtx)
		stop() // a node that cannot be watched must not serve
	}()
	nodeEnded := make(chan error, 1)
	go func() { nodeEnded <- e.node.Run(ctx) }() // waited for below
	notifyReady()
	for {
		select {
		case <-hup:
			e.reload(load)
		case <-ctx.Done():
			notifyStopping()
			// A second signal ends at once: the handler is gone from here on.
			signal.Reset(os.Interrupt, syscall.SIGTERM)
			err := <-nodeEnded
			stopControl()
			return errors.Join(err, <-controlEnded)
		case err := <-nodeEnded:
			stopControl()
			return errors.Join(err, <-controlEnded)
		}
	}
}

// reload replaces what is served, or keeps it and says why.
func (e *edge) reload(load func() (selvage.Config, error)) {
	notifyReloading()
	defer notifyReady()
	conf, err := load()
	if err != nil {
		e.log.Error("reload refused, the old revision is kept", "error", err)
		return
	}
	restart, err := e.node.Reload(conf)
	if err != nil {
		e.log.Error("reload refused, the old revision is kept", "error", err)
		return
	}
	for i := range conf.Services {
		e.log.Info("reloaded", "service", conf.Services[i].Service, "revision", config.Revision(conf.Services[i]))
	}
	if len(restart) > 0 {
		e.log.Warn("these settings of the node change with a restart only", "settings", strings.Join(restart, ", "))
	}
}
