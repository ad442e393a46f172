package fastly

// The environment is WASI's. It is read while a program starts, before there is
// a request, so it is the same for all of them.

// environment is the variables, each NAME=value.
func environment(f Facts) []string {
	var out []string
	for _, v := range []struct{ name, value string }{
		{"FASTLY_CUSTOMER_ID", ""},
		{"FASTLY_HOSTNAME", f.Hostname},
		{"FASTLY_POP", f.POP},
		{"FASTLY_REGION", f.Region},
		{"FASTLY_SERVICE_ID", f.ServiceID},
		{"FASTLY_SERVICE_VERSION", f.Version},
	} {
		if v.value != "" {
			out = append(out, v.name+"="+v.value)
		}
	}
	return out
}

// environSizes answers with the number of variables, and the bytes that they take.
func environSizes(env []string) func(p program, args []uint64) uint32 {
	return func(p program, args []uint64) uint32 {
		size := 0
		for _, v := range env {
			size += len(v) + 1
		}
		c := call{mem: p, args: args}
		c.put32(0, uint32(len(env)))
		c.put32(1, uint32(size))
		return wasiErrno(&c)
	}
}

// environGet answers with the variables, and where each begins.
func environGet(env []string) func(p program, args []uint64) uint32 {
	return func(p program, args []uint64) uint32 {
		c := call{mem: p, args: args}
		list, text := c.u32(0), c.u32(1)
		for _, v := range env {
			c.put32at(list, text)
			copy(c.at(text, uint32(len(v)+1)), v+"\x00")
			if c.bad || list > ^uint32(4) || text > ^uint32(len(v)+1) {
				return errnoFault
			}
			list += 4
			text += uint32(len(v) + 1)
		}
		return wasiErrno(&c)
	}
}

// errnoFault is WASI's number for a bad address.
const errnoFault = 21

func wasiErrno(c *call) uint32 {
	if c.bad {
		return errnoFault
	}
	return 0
}
