package compute

import "bytes"

// look counts pages before a reset.
func (r *WasReset) look(m *memory) {
	p, ok := m.backing.(*mappedBacking)
	if !ok {
		return
	}
	entries, err := p.pagemap(m.high)
	if err != nil {
		return
	}
	for i := range uint64(len(entries) / 8) {
		if flags := entries[i*8+7]; flags&present == 0 || flags&ofFile != 0 {
			continue
		}
		was := zeros
		if i*osPage < p.frozen.size {
			was = p.shared[i*osPage : (i+1)*osPage]
		}
		if !bytes.Equal(was, p.whole[i*osPage:(i+1)*osPage]) {
			r.Written++
		}
	}
}
