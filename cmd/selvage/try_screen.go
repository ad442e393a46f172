package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tryScreen is what is said at the start of a try: where to look, and what to do.
type tryScreen struct {
	w      io.Writer
	u      ui
	fleet  *tryFleet
	origin *shopServer
	data   string // for the commands, if they would not find it
}

// greet says where to look. It is not wider than 80 columns but for folders
// that the machine made longer.
func (s tryScreen) greet() {
	w, u, t := s.w, s.u, s.fleet
	folder := filepath.Dir(t.conf.Node.AccessLog)
	bases := t.bases()
	rows := [][3]string{
		{"shop", bases[0], "try a page, then reload it"},
		{"origin", s.origin.url, "the same without the edge"},
	}
	if addr := t.control.AdminAddr(); addr != nil {
		rows = append(rows, [3]string{"metrics", "http://" + addr.String() + "/metrics", "of " + string(t.name)})
	}
	rows = append(rows, [3]string{"files", folder, "service, logs"})
	fmt.Fprintf(w, "\n  %s %s   three nodes, a toy shop and a little traffic, all in here\n\n", u.strong("selvage"), versionString())
	for _, r := range rows {
		at := r[1]
		if strings.Contains(at, "://") {
			at = u.link(at)
		}
		fmt.Fprintf(w, "  %-10s  %s%s  %s\n", r[0], at, strings.Repeat(" ", max(0, 33-len(r[1]))), u.dim(r[2]))
	}
	fmt.Fprintln(w)
	for i, at := range tryPlaces {
		fmt.Fprintf(w, "  %s %-8s  ready   %3d ms   %-4s %s\n", u.sign(signOK), at.pop+"-1", t.took[i]/time.Millisecond, at.zone, u.dim(bases[i]))
	}
	fmt.Fprintf(w, "  %s %-8s  web, 1 endpoint answers\n", u.sign(signOK), "origin")
	fmt.Fprintf(w, "\n  Then, in a second terminal:\n%s\n  Ctrl-C ends everything and leaves nothing behind.\n\n", s.hints())
}

func (s tryScreen) hints() string {
	me, on := self(), ""
	if s.data != "" {
		on = " --data " + s.data
	}
	deploy := [2]string{me + " deploy examples/bad-500" + on, "watch it undo itself"}
	if s.origin.moved {
		deploy = [2]string{me + " deploy" + on + " " + filepath.Join(filepath.Dir(s.fleet.conf.Node.AccessLog), "shop.yaml"),
			"edited; examples/ look for the shop where another program is"}
	}
	var b strings.Builder
	for _, h := range [][2]string{
		{"curl -sD- -o/dev/null " + s.fleet.bases()[0] + "/p/42", "the second time a hit: see Cache-Status"},
		{me + " status" + on, "how it is"},
		{me + " why" + on + " " + s.fleet.bases()[0] + "/p/42", "why it was a hit"},
		{me + " purge" + on + " tag:product-42", "three receipts"},
		deploy,
		{"curl -d mode=error " + s.origin.url + "/_shop/behave", "break the origin: pages stay up"},
		{"curl -d mode=ok " + s.origin.url + "/_shop/behave", "heal it"},
	} {
		if len(h[0]) > 36 {
			fmt.Fprintf(&b, "    %s\n        %s\n", h[0], s.u.dim(h[1]))
			continue
		}
		fmt.Fprintf(&b, "    %-36s %s\n", h[0], s.u.dim(h[1]))
	}
	return b.String()
}

// self is how this program can be called again from a shell.
func self() string {
	if _, err := exec.LookPath("selvage"); err == nil {
		return "selvage"
	}
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/selvage"
	}
	return os.Args[0]
}
