package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/node"
)

// runFlags are the flags of run. A flag goes before the environment, that
// before the file, that before the default.
type runFlags struct {
	nodeFile, origin, function, listen, admin, data string
	files                                           []string
	watch                                           bool
	warnings                                        io.Writer // nil: nobody reads them
	notes                                           []string  // of what was loaded last
	checks                                          node.Checks
}

// warn says what of a file does nothing.
func (f *runFlags) warn(lines []string) {
	for _, line := range lines {
		if f.warnings != nil {
			fmt.Fprintf(f.warnings, "%s; it is ignored\n", line)
		}
	}
}

func runCommand() *cobra.Command {
	f := new(runFlags)
	cmd := &cobra.Command{
		Use:   "run [-c NODE.yaml] [SERVICE.yaml|FOLDER...]",
		Short: "Serve: the services of the files, or one origin without a file",
		Long: `Serve until SIGTERM or Ctrl-C, which drain; a second one ends at once.
SIGHUP reads the files again and keeps what runs if they are wrong.

  selvage run --origin http://127.0.0.1:3000         one origin, cached, no file
  selvage run --function main.wasm --origin URL      a function, and the origin that its backends are
  selvage run fastly.toml                            a program for Fastly Compute, with its [local_server]
  selvage run shop.yaml                              one service
  selvage run -c node.yaml /etc/selvage/services     all *.yaml of a folder

Without a file and without --origin it takes ./selvage.yaml, then
$XDG_CONFIG_HOME/selvage/selvage.yaml, then /etc/selvage/selvage.yaml.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.take(cmd, args); err != nil {
				return err
			}
			return serve(cmd, f)
		},
		ValidArgsFunction: yamlFiles,
	}
	f.nodeFile, f.listen = os.Getenv("SELVAGE_CONFIG"), os.Getenv("SELVAGE_LISTEN")
	f.admin, f.data = os.Getenv("SELVAGE_ADMIN"), os.Getenv("SELVAGE_DATA")
	fl := cmd.Flags()
	fl.VarP(word{&f.nodeFile, "file"}, "config", "c", "node file ($SELVAGE_CONFIG)")
	fl.Var(word{&f.origin, "URL"}, "origin", "serve this one origin, without a file")
	fl.Var(word{&f.function, "file"}, "function", "serve this WebAssembly program, without a file")
	fl.BoolVar(&f.watch, "watch", false, "read files and modules again when they change")
	fl.Var(word{&f.listen, "address"}, "listen", "where clients come in, instead of the node file's ($SELVAGE_LISTEN)")
	fl.Var(word{&f.admin, "address"}, "admin", "where operators come in, or off, instead of the node file's ($SELVAGE_ADMIN)")
	fl.Var(word{&f.data, "folder"}, "data", "data folder, instead of the node file's ($SELVAGE_DATA)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagFilename("function", "wasm")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

// take puts the arguments beside the flags.
func (f *runFlags) take(cmd *cobra.Command, args []string) error {
	f.files = args
	switch {
	case f.origin != "" && len(args) > 0:
		return &usageError{cmd.CommandPath(), errors.New("--origin and service files exclude each other")}
	case f.function != "" && len(args) > 0:
		return &usageError{cmd.CommandPath(), errors.New("--function and service files exclude each other")}
	case len(args) > 1 && slices.ContainsFunc(args, isManifest):
		return &usageError{cmd.CommandPath(), errors.New("a fastly.toml is run alone")}
	}
	return nil
}

// yamlFiles are service files, and for run those of Fastly's command line.
func yamlFiles(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if cmd.Name() == "run" {
		return []string{"yaml", "yml", "toml"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// loadAgain is load for a reload: what was said already is not said again.
func (f *runFlags) loadAgain(errs io.Writer) func() (selvage.Config, error) {
	return func() (selvage.Config, error) {
		before := f.notes
		var conf selvage.Config
		var err error
		compute.Beside(func() { conf, err = f.load() })
		sayNotes(errs, slices.DeleteFunc(slices.Clone(f.notes), func(note string) bool { return slices.Contains(before, note) }))
		return conf, err
	}
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
	foreign := len(files) == 1 && isManifest(files[0])
	if foreign {
		files = nil
	}
	if len(files) == 0 && f.origin == "" && f.function == "" && !foreign {
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
	quick, name, err := f.quick(foreign, &conf)
	if err != nil {
		return selvage.Config{}, err
	}
	var problems selvage.Problems
	if quick.Service != "" {
		conf.Services = []selvage.Service{quick}
		f.notes, problems = checkModules(&f.checks, name, &quick, openModule)
	} else {
		f.notes, problems = checkFiles(&f.checks, l)
	}
	if len(problems) > 0 {
		return selvage.Config{}, problems
	}
	return conf, f.override(&conf.Node)
}

// quick is the service that no file has, and where its mistakes are; a service without a name if there is none.
func (f *runFlags) quick(foreign bool, conf *selvage.Config) (s selvage.Service, name string, err error) {
	switch {
	case foreign:
		r, err := manifestService(f.files[0])
		f.warn(r.ignored)
		conf.Outside = map[selvage.ServiceName]selvage.Outside{r.service.Service: r.outside}
		return r.service, f.files[0], err
	case f.function != "":
		name = "--function"
		s, err = quickFunction(f.function, f.origin)
	case f.origin != "":
		name = "--origin"
		s, err = config.Quick(f.origin)
	}
	return s, name, err
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
		n.Name = selvage.NodeName(strings.ToLower(host))
	}
	return checkFlags(n, f.listen != "", f.admin != "")
}

// checkFlags checks what the flags made of a node as its file was. Each mistake
// has the flag in its file's place.
func checkFlags(n *selvage.Node, listen, admin bool) error {
	problems := n.Validate()
	for i := range problems {
		p := &problems[i]
		switch {
		case listen && strings.HasPrefix(p.Path, "listen"):
			p.File = "--listen"
		case admin && strings.HasPrefix(p.Path, "admin"):
			p.File = "--admin"
		default:
			p.File = p.Path
		}
	}
	return problems.Err()
}

// serviceFiles puts the *.yaml files of folders in their place, sorted.
func serviceFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, fmt.Errorf("%s: %w", arg, pathErr.Err)
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

// ownFiles are serviceFiles without those that only run takes.
func ownFiles(args []string) ([]string, error) {
	files, err := serviceFiles(args)
	if i := slices.IndexFunc(files, isManifest); i >= 0 {
		return nil, fmt.Errorf("%s is a file of Fastly's command line: \"selvage run\" takes it as it is, all else needs a service file", files[i])
	}
	return files, err
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
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anything else: it must not kill a node that starts
	defer signal.Stop(hup)
	f.warnings = cmd.ErrOrStderr()
	conf, err := f.load()
	if err != nil {
		return sayProblems(cmd, err)
	}
	sayNotes(cmd.ErrOrStderr(), f.notes)
	log := slog.New(slog.NewTextHandler(asIs(cmd.ErrOrStderr()), nil))
	opened, err := systemdSockets()
	if err != nil {
		return err
	}
	e, err := openEdge(cmd.Context(), conf, log, opened, edgeParts{checks: &f.checks})
	if err != nil {
		return err
	}
	greet(cmd.ErrOrStderr(), newUI(os.Stderr), e, &conf)
	if f.watch {
		go watchFiles(cmd.Context(), f.watched(&conf), hup) // ends with the context; it holds nothing
	}
	return e.run(cmd.Context(), hup, f.loadAgain(cmd.ErrOrStderr()))
}

// sayProblems prints mistakes in files as they are, without a prefix that
// would hide their place. Mistakes in flags alone are a wrong use.
func sayProblems(cmd *cobra.Command, err error) error {
	problems, ok := errors.AsType[selvage.Problems](err)
	if !ok {
		return err
	}
	if !slices.ContainsFunc(problems, func(p selvage.Problem) bool { return !strings.HasPrefix(p.File, "--") }) {
		return &usageError{cmd.CommandPath(), problems}
	}
	fmt.Fprint(cmd.ErrOrStderr(), newUI(os.Stderr).problems(problems))
	return &saidError{exitFailed}
}

// greet says what is served, where, and where to look.
func greet(w io.Writer, u ui, e *edge, conf *selvage.Config) {
	row := func(glyph, name, format string, args ...any) {
		fmt.Fprintf(w, "%s %-10s %s\n", glyph, name, fmt.Sprintf(format, args...))
	}
	for i, addr := range e.node.Addrs() {
		row(u.sign(signOK), "serving", "%s", webAddress(u, addr, conf.Node.Listen[i].TLS, ""))
	}
	for i := range conf.Services {
		s := &conf.Services[i]
		row(u.sign(signOK), "service", "%s for %s, %s, revision %s", u.strong(string(s.Service)),
			hostList(s.Hosts), count(len(s.Routes), "route"), localRevision(s, conf.Outside[s.Service]))
	}
	if addr := e.control.AdminAddr(); addr != nil {
		row(u.sign(signOK), "metrics", "%s", webAddress(u, addr, false, "/metrics"))
	}
	row(u.sign(signOK), "data", "%s", conf.Node.Data)
	if ca := e.node.AuthorityPath(); ca != "" {
		row(u.sign(signWatch), "authority", "for development only: curl --cacert %s", ca)
	}
	status := self() + " status"
	if conf.Node.Data != dataFolders()[0] {
		status += " --data " + conf.Node.Data
	}
	row(" ", "look", "%s", status)
}

// webAddress is where a browser on this machine finds a listener.
func webAddress(u ui, addr net.Addr, tls bool, path string) string {
	scheme, note := "http://", ""
	if tls {
		scheme = "https://"
	}
	at := addr.String()
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		at, note = net.JoinHostPort("localhost", strconv.Itoa(tcp.Port)), u.dim("  and every other address of this machine")
	}
	return u.link(scheme+at+path) + note
}

// hostList names a few hosts and counts the rest.
func hostList(hosts []string) string {
	const most = 3
	switch {
	case slices.Contains(hosts, "*"):
		return "every host"
	case len(hosts) <= most:
		return strings.Join(hosts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(hosts[:most-1], ", "), len(hosts)-most+1)
}
