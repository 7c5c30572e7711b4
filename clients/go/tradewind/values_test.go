package tradewind

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

func TestNumbersKeepTheirDigits(t *testing.T) {
	text := `{"amount":4250.10,"count":123456789012345678901234567890,"list":[0.1,-0]}`
	var read any
	if err := (Value{&tradewindv1.Payload{Data: []byte(text)}}).Decode(&read); err != nil {
		t.Fatal(err)
	}
	written, err := NewValue(read)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "read and written", written.String(), text)
	equal(t, "type", read.(map[string]any)["amount"].(json.Number), "4250.10")
}

func TestExponentsAreWrittenOut(t *testing.T) {
	for number, expected := range map[json.Number]string{
		"1e3": "1000", "1.50E+1": "15.0", "-2.5e-3": "-0.0025", "12e-1": "1.2", "0e5": "0", "1e21": "1000000000000000000000",
		"100e-2": "1.00", "-0.07e1": "-0.7",
	} {
		value, err := NewValue(map[string]any{"e1\"": number})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, string(number), value.String(), `{"e1\"":`+expected+`}`)
	}
	large, err := NewValue([]any{1e21, big.NewInt(7), "1e9"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "others", large.String(), `[1000000000000000000000,7,"1e9"]`)
}

func TestWhatJSONCannotCarryIsAnError(t *testing.T) {
	for _, value := range []any{make(chan int), json.Number("1e1000000000"), json.Number("1e-1001"), []string{"a\xff"}} {
		if _, err := NewValue(value); !errors.Is(err, ErrNotCarried) {
			t.Errorf("%v: found %v", value, err)
		}
	}
	var into any
	for _, payload := range []*tradewindv1.Payload{{ContentType: "text/plain"}, {Encoding: "zip"}, {Data: []byte("1 2")}} {
		if err := (Value{payload}).Decode(&into); !errors.Is(err, ErrNotCarried) {
			t.Errorf("%v: found %v", payload, err)
		}
	}
}

func TestAnUntouchedValuePassesByteForByte(t *testing.T) {
	text := "{ \"a\" : 1.0e2, \"b\": \"<\\u0041>\" }"
	value := Value{&tradewindv1.Payload{Data: []byte(text)}}
	again, err := NewValue(value)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "value", again.String(), text)
	html, err := NewValue("<&>")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", html.String(), `"<&>"`)
}

func TestTextThatLooksLostIsNot(t *testing.T) {
	text, err := NewValue([]string{"\ufffd", `\ufffd`, "e\n\\"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", text.String(), "[\"\ufffd\",\"\\\\ufffd\",\"e\\n\\\\\"]")
}

func TestAbsentIsNotNull(t *testing.T) {
	var absent Value
	null, err := NewValue(nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "absent", absent.IsPresent(), false)
	equal(t, "null", null.IsPresent(), true)
	equal(t, "text", strings.Join([]string{absent.String(), null.String()}, ","), ",null")
}
