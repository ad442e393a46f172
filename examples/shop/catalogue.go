package shop

import (
	"fmt"
	"strings"
	"time"
)

// printed is when the catalogue was last changed: the Last-Modified of all that is made of it.
var printed = time.Date(2026, time.November, 2, 8, 0, 0, 0, time.UTC)

// Product is a cloth that is sold by the metre.
type Product struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Material string `json:"material"`
	Weave    string `json:"weave"` // plain, twill, herringbone, satin, hopsack, check
	Cents    int    `json:"cents"` // a metre
	Grams    int    `json:"grams"` // a square metre
	About    string `json:"about"`
	warp     string // its colours: hexadecimal, one thread after the other
	weft     string
}

// Tag is the product's cache tag.
func (p *Product) Tag() string { return fmt.Sprintf("product-%d", p.ID) }

// Price is what a metre costs, for people.
func (p *Product) Price() string { return price(p.Cents) }

// price writes cents for people.
func price(cents int) string { return fmt.Sprintf("€%d.%02d", cents/100, cents%100) }

// catalogue is all that we sell, by ascending ID from 13 to 42.
var catalogue = []Product{
	{13, "Harbour denim", "cotton", "twill", 1850, 390, "A stiff indigo denim that softens in a year and fades in two.", "1f3a6d 24427a 1b3260", "e8e6df d9d6cc"},
	{14, "Miller's calico", "cotton", "plain", 620, 140, "Unbleached, for patterns, linings and bags of flour.", "efe6d2 e7dcc4", "f3ecdb e9dfc9"},
	{15, "Lamplight satin", "silk", "satin", 5400, 95, "Falls like water and shows every fingerprint.", "e2b866 d9ab52 edc87d", "b8893a c59645"},
	{16, "Quarry tweed", "wool", "herringbone", 4200, 420, "Grey as the quarry, with a thread of lichen in it.", "6c7075 7d8287 5c6166", "a9adb0 b7c08a 9a9ea2"},
	{17, "Orchard gingham", "cotton", "check", 940, 120, "Red and white, for tables and summer shirts.", "c8433f c8433f c8433f c8433f f4efe8 f4efe8 f4efe8 f4efe8", "c8433f c8433f c8433f c8433f f4efe8 f4efe8 f4efe8 f4efe8"},
	{18, "Bell-ringer's serge", "wool", "twill", 3650, 340, "The cloth of uniforms: hard, dark, and it does not crease.", "23262e 2c303a", "1c1f26 343947"},
	{19, "Flax-field linen", "linen", "plain", 2300, 185, "Sky-blue linen with slubs, cool in July.", "9fbfd9 b3cde2 8fb2cf", "d4e2ec c2d6e5"},
	{20, "Sailmaker's canvas", "hemp", "hopsack", 2750, 510, "Takes a needle of size 18 and forty winters.", "cfc2a3 bfb18f", "d8cdb2 c6b998"},
	{21, "Moss velour", "cotton", "satin", 3100, 310, "Deep green, brushed one way. Cut all parts in the same direction.", "3f5b36 36502e", "4c6a41 2f4628"},
	{22, "Night-train flannel", "wool", "twill", 3900, 290, "Charcoal with a haze. Trousers that sleep sitting up.", "3c3f45 4a4e55", "5b5f67 45494f"},
	{23, "Signal poplin", "cotton", "plain", 1150, 115, "Orange, close-woven, for shirts that want to be seen.", "e2712d ea7f3d", "f08c4c d9651f"},
	{24, "Ferryman's hopsack", "wool", "hopsack", 3450, 300, "Navy and open, for jackets that breathe.", "26395c 304670", "1d2d4a 3a5280"},
	{25, "Chalk-line suiting", "wool", "check", 4800, 270, "A white thread every two fingers.", "2b2f3a 2b2f3a 2b2f3a 2b2f3a 2b2f3a 2b2f3a 2b2f3a e6e6e2", "2b2f3a 262a34"},
	{26, "Plum habotai", "silk", "plain", 2900, 45, "As light as a letter. For linings that nobody sees.", "6d2f5b 7b3868", "8a4476 62294f"},
	{27, "Stable-boy's check", "wool", "check", 3700, 360, "Brown, cream and one line of blue.", "7a5a3a 7a5a3a 7a5a3a d9cba9 d9cba9 7a5a3a 7a5a3a 4a6f94", "7a5a3a 7a5a3a 7a5a3a d9cba9 d9cba9 7a5a3a 7a5a3a 4a6f94"},
	{28, "Rope-walk hemp", "hemp", "plain", 1980, 330, "Undyed and honest. Washes soft.", "b9a77d c6b58d", "ad9b71 d0c09b"},
	{29, "Snowdrop lawn", "cotton", "plain", 1480, 70, "White, fine enough to read through.", "f7f7f4 efefea", "fbfbf9 f1f1ec"},
	{30, "Brick twill", "cotton", "twill", 1320, 260, "Red work trousers begin here.", "9c4432 a84d3a", "b35c48 8e3b2a"},
	{31, "Pewter satin", "silk", "satin", 5100, 100, "Grey with a light of its own.", "8e9499 9ba1a6 a9afb3", "6f757a 7d8388"},
	{32, "Gamekeeper's tweed", "wool", "herringbone", 4500, 450, "Green and rust. Keeps the rain out for an hour.", "4d5a3a 5b6946 7a4a2c", "8a8a5c 6d6f47 9a6a44"},
	{33, "Deck-chair stripe", "cotton", "check", 1690, 380, "Broad stripes that come back every summer.", "2f7f86 2f7f86 2f7f86 2f7f86 f2ead8 f2ead8 f2ead8 f2ead8", "f2ead8 eee4cf"},
	{34, "Printer's drill", "cotton", "twill", 1240, 280, "Ink-blue aprons, since always.", "2d4a7c 365590", "456399 284270"},
	{35, "Wheat linen", "linen", "hopsack", 2450, 240, "Curtains that let the morning in.", "d8c48f ccb67d", "e3d3a6 d0bb85"},
	{36, "Coal-cellar moleskin", "cotton", "satin", 2150, 410, "Black, dense, and kind to the knees.", "1b1b1d 232326", "2b2b2f 161618"},
	{37, "Rosehip chambray", "cotton", "plain", 1090, 130, "Pink one way, white the other.", "d0627a d97186", "f3ebe9 ece2e0"},
	{38, "Lighthouse stripe", "linen", "check", 2600, 200, "Red, white, red, white, and the sea.", "c23b36 c23b36 f5f1ea f5f1ea", "f5f1ea efe9df"},
	{39, "Bog-oak herringbone", "wool", "herringbone", 4650, 430, "Nearly black, until you hold it to the window.", "2a2521 332d28", "4a423a 3b342e"},
	{40, "Copper taffeta", "silk", "plain", 4700, 85, "Rustles. Copper one way, green the other.", "a8602f b46c3a", "3d6b52 467a5e"},
	{41, "Tarpaulin hemp", "hemp", "twill", 3050, 620, "For what must stay dry, and for people who must.", "5d6b4a 677652", "4f5c3e 717f5c"},
	{42, "Selvage denim", "cotton", "twill", 2950, 460, "Woven on a narrow loom, with an edge that cannot unravel.", "22376b 2a4280 1c2f5c", "ece9e1 dedad0"},
}

// product finds a product by its number.
func product(id int) (*Product, bool) {
	if i := id - catalogue[0].ID; i >= 0 && i < len(catalogue) {
		return &catalogue[i], true
	}
	return nil, false
}

// search finds the products in which every word of the query occurs.
func search(query string) []Product {
	words := strings.Fields(strings.ToLower(query))
	var found []Product
	for _, p := range catalogue {
		text := strings.ToLower(p.Name + " " + p.Material + " " + p.Weave + " " + p.About)
		fits := true
		for _, w := range words {
			fits = fits && strings.Contains(text, w)
		}
		if fits {
			found = append(found, p)
		}
	}
	return found
}
