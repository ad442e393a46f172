package compute

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/selvage-edge/selvage/compute/wasm"
)

// generator writes random programs that are valid and end.
type generator struct {
	r     *rand.Rand
	b     strings.Builder
	funcs int // those that may be called
	depth int
	loops int
	left  int // instructions
}

var (
	unaryOps  = map[string][]string{}
	binaryOps = map[string][]string{}
)

// randomProgram has a function main of i32 and i64, which gives an i64.
func randomProgram(seed uint64) string {
	g := &generator{r: rand.New(rand.NewPCG(seed, 0))}
	operators()
	g.b.WriteString("memory 2 4\n table 4\n global $gi32 i32 3\n global $gi64 i64 5\n global $gf64 f64 7\n global $gv128 v128 0\n")
	g.b.WriteString("data 8 \"some data\"\n data 12 \"over it\"\n elem 0 $f0 $f1 $f0 $f1\n start $begin\n")
	g.b.WriteString("func $begin\n i32.const 77 / i32.const 1 / i32.store8\n endfunc\n")
	for i := range 4 {
		name := fmt.Sprintf("$f%d", i)
		if i == 3 {
			name = "$main export=main"
		}
		fmt.Fprintf(&g.b, "func %s i32,i64 -> i64 locals=i32,i64,f32,f64,v128,i32,i32,i32\n", name)
		g.left, g.depth, g.loops = 150, 0, 0
		for range 3 {
			g.statement()
		}
		g.expression("i64")
		g.b.WriteString("endfunc\n")
		g.funcs++
	}
	return g.b.String()
}

// operators sorts the instructions by their types, as their names say them.
func operators() {
	if len(unaryOps) > 0 {
		return
	}
	for _, name := range wasm.Instructions() {
		typ, op, ok := strings.Cut(name, ".")
		if !ok {
			continue
		}
		switch typ {
		case "i32", "i64", "f32", "f64":
			switch op {
			case "add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr", "div_u", "rem_s":
				binaryOps[typ] = append(binaryOps[typ], name)
			case "clz", "ctz", "popcnt", "extend8_s", "extend16_s", "floor", "sqrt", "trunc", "abs", "neg":
				unaryOps[typ] = append(unaryOps[typ], name)
			}
		case "i8x16", "i16x8", "i32x4", "i64x2":
			switch op {
			case "add", "sub", "eq", "swizzle", "min_s", "add_sat_s", "mul", "max_u":
				binaryOps["v128"] = append(binaryOps["v128"], name)
			case "neg", "abs", "popcnt", "extend_low_i8x16_s":
				unaryOps["v128"] = append(unaryOps["v128"], name)
			}
		}
	}
}

func (g *generator) emit(format string, args ...any) {
	g.left--
	fmt.Fprintf(&g.b, format+"\n", args...)
}

func (g *generator) pick(names []string) string { return names[g.r.IntN(len(names))] }

var locals = map[string]int{"i32": 2, "i64": 3, "f32": 4, "f64": 5, "v128": 6}

func (g *generator) expression(typ string) {
	if g.left <= 0 || g.depth > 6 {
		g.leaf(typ)
		return
	}
	g.depth++
	defer func() { g.depth-- }()
	switch g.r.IntN(8) {
	case 0, 1:
		g.expression(typ)
		g.expression(typ)
		g.emit("%s", g.pick(binaryOps[typ]))
	case 2:
		g.expression(typ)
		g.emit("%s", g.pick(unaryOps[typ]))
	case 3:
		g.address()
		g.emit("%s.load %d", typ, g.r.IntN(100))
	case 4:
		g.expression("i32")
		g.emit("if %s", typ)
		g.expression(typ)
		g.emit("else")
		g.expression(typ)
		g.emit("end")
	case 5:
		g.conversion(typ)
	case 6:
		g.emit("block %s", typ)
		g.expression(typ)
		g.expression("i32")
		g.emit("br_if 0")
		g.emit("drop")
		g.expression(typ)
		g.emit("end")
	default:
		g.leaf(typ)
	}
}

func (g *generator) conversion(typ string) {
	switch typ {
	case "i32":
		g.expression("i64")
		g.emit("i32.wrap_i64")
	case "i64":
		if g.funcs > 0 && g.r.IntN(2) == 0 {
			g.expression("i32")
			g.expression("i64")
			if g.funcs > 1 && g.r.IntN(3) == 0 {
				g.emit("i32.const %d", g.r.IntN(4))
				g.emit("call_indirect i32,i64->i64")
			} else {
				g.emit("call $f%d", g.r.IntN(min(g.funcs, 3)))
			}
			return
		}
		g.expression("f64")
		g.emit("i64.trunc_sat_f64_s")
	case "f32":
		g.expression("f64")
		g.emit("f32.demote_f64")
	case "f64":
		g.expression("i32")
		g.emit("f64.convert_i32_u")
	case "v128":
		g.expression("i32")
		g.emit("i16x8.splat")
	}
}

func (g *generator) leaf(typ string) {
	switch {
	case typ == "v128":
		g.emit("local.get %d", locals[typ])
	case g.r.IntN(2) == 0:
		g.emit("%s.const %d", typ, g.r.IntN(1000)-500)
	case typ == "i32":
		g.emit("local.get %d", []int{0, 2}[g.r.IntN(2)])
	case typ == "i64":
		g.emit("local.get %d", []int{1, 3}[g.r.IntN(2)])
	default:
		g.emit("local.get %d", locals[typ])
	}
}

// address is mostly within the memory.
func (g *generator) address() {
	g.expression("i32")
	g.emit("i32.const %d", []int{0xffff, 0x1ffff, 0x3ffff}[min(g.r.IntN(30), 2)])
	g.emit("i32.and")
}

func (g *generator) statement() {
	if g.left <= 0 || g.depth > 5 {
		return
	}
	g.depth++
	defer func() { g.depth-- }()
	types := []string{"i32", "i64", "f32", "f64", "v128"}
	switch typ := g.pick(types); g.r.IntN(9) {
	case 0:
		g.expression(typ)
		g.emit("local.set %d", locals[typ])
	case 1:
		typ = g.pick([]string{"i32", "i64", "f64", "v128"})
		g.expression(typ)
		g.emit("global.set $g%s", typ)
	case 2:
		g.address()
		g.expression(typ)
		g.emit("%s.store %d", typ, g.r.IntN(100))
	case 3, 4:
		g.loop()
	case 5:
		g.address()
		g.address()
		g.emit("i32.const %d", []int{g.r.IntN(64), 70_000, 100_000}[g.r.IntN(3)])
		g.emit("%s", g.pick([]string{"memory.copy", "memory.fill"}))
	case 6:
		g.emit("block / block / block")
		g.expression("i32")
		g.emit("br_table 0 1 2 1 0")
		g.emit("end")
		g.statement()
		g.emit("br 1 / end")
		g.statement()
		g.emit("end")
	case 7:
		g.expression("i32")
		g.emit("if")
		g.statement()
		g.emit("else")
		g.statement()
		g.emit("end")
	case 8:
		g.emit("i32.const 1 / memory.grow / drop")
	}
}

// loop goes around a few times, by a counter of its own.
func (g *generator) loop() {
	if g.loops == 3 {
		return
	}
	counter := 7 + g.loops
	g.loops++
	g.emit("i32.const %d / local.set %d", 1+g.r.IntN(5), counter)
	g.emit("block / loop")
	g.statement()
	g.expression("i32")
	g.emit("i32.const 15 / i32.and / i32.eqz / br_if 1")
	g.emit("local.get %d / i32.const 1 / i32.sub / local.tee %d / br_if 0", counter, counter)
	g.emit("end / end")
	g.loops--
}
