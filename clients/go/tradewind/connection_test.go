package tradewind

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// listen plays a server on a free loopback port until the test or stop ends it.
func listen(t *testing.T, server *fakeServer, options ...grpc.ServerOption) (address string, stop func()) {
	t.Helper()
	return listenOn(t, "127.0.0.1:0", server, options...)
}

func listenOn(t *testing.T, on string, server *fakeServer, options ...grpc.ServerOption) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", on)
	if err != nil {
		t.Fatal(err)
	}
	played := grpc.NewServer(options...)
	tradewindv1.RegisterExecutionServiceServer(played, server)
	tradewindv1.RegisterHumanTaskServiceServer(played, server)
	go func() { _ = played.Serve(listener) }() // ends with Stop
	t.Cleanup(played.Stop)
	return listener.Addr().String(), played.Stop
}

func connect(t *testing.T, options Options) *Client {
	t.Helper()
	client, err := Connect(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestCallsGoToTheServersThatAnswer(t *testing.T) {
	one, two := &fakeServer{}, &fakeServer{}
	first, stop := listen(t, one)
	second, _ := listen(t, two)
	client := connect(t, Options{Addresses: []string{first, second}})
	client.clock = &instantClock{}
	stop()
	for range 4 {
		if _, err := client.Start(context.Background(), Start{Workflow: "w"}); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "first", len(one.starts), 0)
	equal(t, "second", len(two.starts), 4)
}

func TestAServerThatIsBackIsNoticed(t *testing.T) {
	address, stop := listen(t, &fakeServer{})
	client := connect(t, Options{Addresses: []string{address}})
	if _, err := client.Start(context.Background(), Start{Workflow: "w"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	again := client.reconnected(ctx, false)
	stop()
	client.connection.WaitForStateChange(ctx, connectivity.Ready)
	select {
	case <-again:
		t.Error("too early")
	default:
	}
	listenOn(t, address, &fakeServer{})
	within(t, "the connection", again)
}

// pausing gives a client in a call whose server has gone, in a long delay that nobody ends: one that is not cut short would
// never end.
func pausing(t *testing.T) (client *Client, clock *handClock, address string, ended <-chan error) {
	t.Helper()
	address, stop := listen(t, &fakeServer{})
	client, clock = connect(t, Options{Addresses: []string{address}}), newHandClock()
	client.clock = clock
	stop()
	ended = startOnce(client)
	untilLongDelay(t, clock)
	return client, clock, address, ended
}

func TestACallIsMadeAgainAsSoonAsTheServerIsBack(t *testing.T) {
	_, clock, address, ended := pausing(t)
	listenOn(t, address, &fakeServer{})
	clock.advance(clock.untilAsked(t, func(d time.Duration) bool { return d <= longestReconnect }))

	equal(t, "error", within(t, "the answer", ended), nil)
}

func TestACallThatPausesEndsAsItsClientIsClosed(t *testing.T) {
	client, clock, _, ended := pausing(t)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	clock.advance(clock.untilAsked(t, func(d time.Duration) bool { return d <= longestReconnect }))

	equal(t, "refused", within(t, "the end", ended) != nil, true)
}

func TestACallThatFindsItsServerBackBeforeItWaitsIsMadeAgainAfterASecond(t *testing.T) {
	broken := status.Error(codes.Unavailable, "connection reset by peer")
	server := &fakeServer{answers: slices.Repeat([]error{broken}, 30)} // each call is tried three times by gRPC itself
	clock := newHandClock()
	client := serve(t, server, clock)
	ended := startOnce(client)
	untilLongDelay(t, clock)
	server.mutex.Lock()
	server.answers = nil
	server.mutex.Unlock()
	equal(t, "in any case", clock.untilAsked(t, func(time.Duration) bool { return true }), longestReconnect)
	clock.advance(longestReconnect)

	equal(t, "error", within(t, "the answer", ended), nil)
}

func TestAServerThatIsThereAndRefusesGetsTheWholeDelay(t *testing.T) {
	client := serve(t, &fakeServer{}, newHandClock())
	if _, err := client.Start(context.Background(), Start{Workflow: "w"}); err != nil {
		t.Fatal(err)
	}
	refused := &Error{Reason: ReasonDatabaseUnavailable, Code: codes.Unavailable}
	equal(t, "broken", isBroken(refused), false)
	ctx, cancel := context.WithCancel(context.Background())
	again := client.reconnected(ctx, isBroken(refused))
	for range 20 {
		if _, err := client.Start(context.Background(), Start{Workflow: "w"}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-again:
		t.Error("too early")
	default:
	}
	cancel()
}

// A load balancer with nobody behind it.
func TestACallToWhoDropsEveryConnectionHoldsItsDelaysAndEndsWithItsPatience(t *testing.T) {
	t.Parallel() // gRPC's own repeats take seconds
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			peer, err := listener.Accept()
			if err != nil {
				return
			}
			_ = peer.Close()
		}
	}()
	client := connect(t, Options{Addresses: []string{listener.Addr().String()}})
	clock := &instantClock{}
	client.clock = clock
	err = within(t, "the end", startOnce(client))

	equal(t, "typed", errors.Is(err, ErrUnavailable), true)
	equal(t, "to the end of its patience", defaultPatience-clock.now.Sub(time.Time{}) < firstDelay, true)
	for at, least := 0, firstDelay/2; least < longestReconnect; at, least = at+1, least*2 {
		if clock.waited[at] < least {
			t.Errorf("delay %d is %v", at, clock.waited[at])
		}
	}
}

func startOnce(client *Client) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := client.Start(context.Background(), Start{Workflow: "w"})
		ended <- err
	}()
	return ended
}

// untilLongDelay lets delays pass until there is one that is longer than what is waited in any case.
func untilLongDelay(t *testing.T, clock *handClock) {
	t.Helper()
	for {
		d := clock.untilAsked(t, func(time.Duration) bool { return true })
		if d > longestReconnect {
			return
		}
		clock.advance(d)
	}
}

func TestMutualTLSFromFiles(t *testing.T) {
	t.Parallel() // gRPC's own repeats take seconds
	folder := t.TempDir()
	certificate, key := writeCertificate(t, folder)
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	config, err := TLSFiles{CA: certificate, Certificate: certificate, Key: key}.Config()
	if err != nil {
		t.Fatal(err)
	}
	served := &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: config.RootCAs}
	server := &fakeServer{}
	address, _ := listen(t, server, grpc.Creds(credentials.NewTLS(served)))
	_, port, _ := net.SplitHostPort(address)
	for _, addresses := range [][]string{{"localhost:" + port}, {"localhost:" + port, "127.0.0.1:1"}} {
		client := connect(t, Options{Addresses: addresses, TLS: config})
		if _, err := client.Start(context.Background(), Start{Workflow: "w"}); err != nil {
			t.Errorf("%v: %v", addresses, err)
		}
	}

	elsewhere := connect(t, Options{Addresses: []string{address}, TLS: config})
	elsewhere.clock = &instantClock{}
	_, err = elsewhere.Start(context.Background(), Start{Workflow: "w"})
	equal(t, "a name that the certificate does not have", errors.Is(err, ErrUnavailable), true)
}

func TestAddressWithoutAPortMeansTheOneThatServersHave(t *testing.T) {
	for given, meant := range map[string]string{
		"tradewind.example.com": "tradewind.example.com:7233",
		"127.0.0.1":             "127.0.0.1:7233",
		"::1":                   "[::1]:7233",
		"[::1]":                 "[::1]:7233",
		"[::1]:80":              "[::1]:80",
		"localhost:80":          "localhost:80",
		"unix:/run/it":          "unix:/run/it",
		"dns:///a:1":            "dns:///a:1",
	} {
		found, err := completed(given)
		equal(t, given, found, meant)
		equal(t, given, err, nil)
	}
}

func TestAddressThatNoServerCanHaveIsRefused(t *testing.T) {
	for _, addresses := range [][]string{{"http://a:1"}, {"a:1", "grpc+tls://b:2"}, {"a:0", "b:1"}, {"a:65536"}, {"a:"}, {":7233"}, {""}} {
		_, err := Connect(Options{Addresses: addresses})
		if err == nil || !strings.Contains(err.Error(), "expected host:port") {
			t.Errorf("%v: %v", addresses, err)
		}
	}
}

// writeCertificate makes one for localhost that signs itself.
func writeCertificate(t *testing.T, folder string) (certificate, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	made, err := x509.CreateCertificate(rand.Reader, about, about, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: made}, key: {Type: "PRIVATE KEY", Bytes: packed},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestFilesThatCannotBeReadAreAnError(t *testing.T) {
	if _, err := (TLSFiles{CA: "nowhere.pem"}).Config(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := (TLSFiles{Certificate: "nowhere.pem"}).Config(); err == nil {
		t.Error("no error")
	}
}
