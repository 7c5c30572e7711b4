package tradewind

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Greatest exponent that is written out, so that 1e1000000000 does not fill the memory.
const maxExponent = 1000

// ErrNotCarried means that a Go value has no JSON that keeps it, or that a value from the server is not plain JSON.
var ErrNotCarried = errors.New("tradewind: the value cannot be carried")

// Value is a business value as it came from the server: JSON, with all digits of its numbers. The zero Value is "no
// value", which is not the same as the JSON value null. A Value that is passed on, as an input or a result, passes byte
// for byte.
type Value struct{ payload *tradewindv1.Payload }

// NewValue makes a Value of v as [encoding/json] writes it, but for exponents, which are written out. Give decimals as
// [json.Number] and large integers as [math/big.Int]: a float64 has lost its digits before it comes here.
//
// It fails with [ErrNotCarried] if v is no JSON value, or has text that is not UTF-8.
func NewValue(v any) (Value, error) {
	if already, is := v.(Value); is {
		return already, nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return Value{}, fmt.Errorf("%w: %w", ErrNotCarried, err)
	}
	data, err := settled(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	if err != nil {
		return Value{}, err
	}
	return Value{&tradewindv1.Payload{Data: data}}, nil
}

// IsPresent says whether there is a value; null is one.
func (v Value) IsPresent() bool { return v.payload != nil }

// Decode reads the value into target as [encoding/json] does, with numbers in an any as [json.Number], never as float64.
// Absent is read as null. Give decimals a field of the type [json.Number], and large integers one of [math/big.Int].
//
// It fails with [ErrNotCarried] if the value is not plain JSON, and with the errors of [encoding/json].
func (v Value) Decode(target any) error {
	text, err := v.MarshalJSON()
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(target); err != nil {
		return fmt.Errorf("tradewind: read a value: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it goes on after its end", ErrNotCarried)
	}
	return nil
}

// MarshalJSON returns the value as it came; absent is null.
func (v Value) MarshalJSON() ([]byte, error) {
	kind := v.payload.GetContentType()
	if kind != "" && kind != "application/json" || v.payload.GetEncoding() != "" || v.payload.GetExternal() != nil {
		return nil, fmt.Errorf("%w: expected plain JSON, but got %q %q", ErrNotCarried, kind, v.payload.GetEncoding())
	}
	if len(v.payload.GetData()) == 0 {
		return []byte("null"), nil
	}
	return v.payload.GetData(), nil
}

// String returns the JSON text; "" if there is no value.
func (v Value) String() string { return string(v.payload.GetData()) }

// optionalPayload makes a payload; nil is "no value".
func optionalPayload(v any) (*tradewindv1.Payload, error) {
	if v == nil {
		return nil, nil
	}
	value, err := NewValue(v)
	return value.payload, err
}

// settled writes out the numbers of a JSON text that have an exponent, as others may not read them exactly, and refuses
// text in which bytes are lost.
func settled(text []byte) ([]byte, error) {
	var out []byte // nil as long as nothing differs
	copied := 0
	for at := 0; at < len(text); {
		end := tokenEnd(text, at)
		token := text[at:end]
		switch {
		case hasLostBytes(token):
			return nil, fmt.Errorf("%w: expected text in UTF-8, but got %.40q", ErrNotCarried, token)
		case isNumber(token[0]) && bytes.ContainsAny(token, "eE"):
			plain, err := writtenOut(string(token))
			if err != nil {
				return nil, err
			}
			out = append(append(out, text[copied:at]...), plain...)
			copied = end
		}
		at = end
	}
	if copied == 0 {
		return text, nil
	}
	return append(out, text[copied:]...), nil
}

// hasLostBytes says whether a string had bytes that are not UTF-8: [encoding/json] writes this escape for them. It copies
// the same escape from raw text inside of a value, which is then refused, too: rather that than a silent loss.
func hasLostBytes(token []byte) bool {
	if token[0] != '"' {
		return false
	}
	for at := 1; at < len(token)-1; at++ {
		if token[at] != '\\' {
			continue
		}
		if bytes.HasPrefix(token[at:], []byte(`\ufffd`)) {
			return true
		}
		at++
	}
	return false
}

func isNumber(first byte) bool { return first == '-' || first >= '0' && first <= '9' }

// tokenEnd returns where the string, the number or the single byte that begins at a position ends.
func tokenEnd(text []byte, at int) int {
	end := at + 1
	switch {
	case text[at] == '"':
		for text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		return end + 1
	case isNumber(text[at]):
		for end < len(text) && strings.IndexByte("0123456789.eE+-", text[end]) >= 0 {
			end++
		}
	}
	return end
}

func writtenOut(number string) (string, error) {
	mantissa, power, _ := strings.Cut(strings.ToLower(number), "e")
	exponent, err := strconv.Atoi(power)
	if err != nil || exponent > maxExponent || exponent < -maxExponent {
		return "", fmt.Errorf("%w: expected an exponent within %d, but got %.40s", ErrNotCarried, maxExponent, number)
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, point := whole+fraction, len(whole)+exponent
	if point <= 0 {
		digits, point = strings.Repeat("0", 1-point)+digits, 1
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	whole, fraction = strings.TrimLeft(digits[:point], "0"), digits[point:]
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction, nil
}
