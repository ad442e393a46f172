package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
)

// Canonical is the one form of a service that everybody agrees on: JSON with
// the keys of the file, in their order, with every default, without spaces.
// Of a function's module it has the digest, and of the file of a default answer the last part of the name, which
// gives the type, and what it held; where the file lay does not matter. Two
// services with the same form do the same.
func Canonical(s selvage.Service) []byte {
	s.Routes = slices.Clone(s.Routes)
	for i := range s.Routes {
		rungs := slices.Clone(s.Routes[i].OnFailure)
		for j := range rungs {
			rungs[j].Default = canonicalAnswer(rungs[j].Default)
		}
		s.Routes[i].OnFailure = rungs
	}
	s.Functions = maps.Clone(s.Functions)
	for name, f := range s.Functions {
		s.Functions[name] = canonicalFunction(f)
	}
	var b bytes.Buffer
	e := emitter{}
	writeJSON(&b, e.tree(reflect.ValueOf(s), "", nil))
	return b.Bytes()
}

// canonicalFunction has what the module holds in the place of where it lies.
func canonicalFunction(f selvage.Function) selvage.Function {
	if f.Digest != "" {
		f.Module = f.Digest
	}
	f.Default = canonicalAnswer(f.Default)
	f.KVInitial = maps.Clone(f.KVInitial)
	for store, entries := range f.KVInitial {
		entries = maps.Clone(entries)
		for key, e := range entries {
			e.File = canonicalFile(e.File, e.Content)
			entries[key] = e
		}
		f.KVInitial[store] = entries
	}
	f.ACLs = maps.Clone(f.ACLs)
	for name, l := range f.ACLs {
		l.File = canonicalFile(l.File, l.Content)
		f.ACLs[name] = l
	}
	return f
}

// canonicalFile is the digest of what a file holds; empty without one.
func canonicalFile(name string, content []byte) string {
	if name == "" {
		return ""
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func canonicalAnswer(d *selvage.DefaultAnswer) *selvage.DefaultAnswer {
	if d == nil || d.File == "" {
		return d
	}
	named := *d
	named.File = filepath.Base(d.File) + ":" + base64.StdEncoding.EncodeToString(d.Content)
	return &named
}

// Revision is the content address of a service: the first 16 hexadecimal
// digits of the SHA-256 of its canonical form.
func Revision(s selvage.Service) selvage.RevisionID {
	sum := sha256.Sum256(Canonical(s))
	return selvage.RevisionID(hex.EncodeToString(sum[:8]))
}

func writeJSON(b *bytes.Buffer, t *tree) {
	switch {
	case t.form == object:
		for i, e := range t.entries {
			b.WriteByte("{,"[min(i, 1)])
			writeText(b, e.key)
			b.WriteByte(':')
			writeJSON(b, e.value)
		}
		if len(t.entries) == 0 {
			b.WriteByte('{')
		}
		b.WriteByte('}')
	case t.form == list:
		b.WriteByte('[')
		for i, item := range t.items {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, item)
		}
		b.WriteByte(']')
	case t.form == empty:
		b.WriteString("null")
	case t.form == boolean:
		b.WriteString(strings.ToLower(t.text))
	case t.form == number && json.Valid([]byte(t.text)):
		b.WriteString(t.text)
	default:
		writeText(b, t.text)
	}
}

func writeText(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always has a form
	}
	b.Truncate(b.Len() - 1) // the encoder's line feed
}

// ToJSON writes YAML as JSON, without knowing what it means: for tools that
// check a file against its schema. Numbers that JSON does not have become text.
func ToJSON(file string, data []byte) ([]byte, error) {
	src, problems := newSource(file, data)
	if len(problems) > 0 {
		return nil, problems
	}
	t, problems := parse(src)
	if len(problems) > 0 {
		return nil, problems
	}
	var b bytes.Buffer
	writeJSON(&b, t)
	return b.Bytes(), nil
}
