// SPDX-License-Identifier: MIT

package quotes

import (
	"errors"
	"testing"
)

const two = `[{"who": "A", "text": "On Caches"}, {"who": "B", "text": "on names"}]`

func TestParse(t *testing.T) {
	list, err := Parse([]byte(two))
	if err != nil || len(list) != 2 {
		t.Fatalf("got %v, %v", list, err)
	}
	if _, err := Parse([]byte("[]")); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty list gave %v", err)
	}
	if _, err := Parse([]byte("{")); err == nil {
		t.Error("a broken list was accepted")
	}
}

func TestAbout(t *testing.T) {
	list, err := Parse([]byte(two))
	if err != nil {
		t.Fatal(err)
	}
	if found := list.About("cache"); len(found) != 1 || found[0].Who != "A" {
		t.Errorf("got %v", found)
	}
	if found := list.About("tea"); len(found) != 0 {
		t.Errorf("got %v", found)
	}
}

func TestPick(t *testing.T) {
	list := List{{"A", "one"}, {"B", "two"}}
	if got := list.Pick(3).String(); got != "two (B)" {
		t.Errorf("got %q", got)
	}
}
