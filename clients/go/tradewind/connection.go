package tradewind

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

const (
	// DefaultAddress is where a server listens if nobody says otherwise.
	DefaultAddress = "127.0.0.1:7233"

	// DefaultNamespace is the tenant of all calls if nobody names another.
	DefaultNamespace = "default"

	defaultPatience = 30 * time.Second

	// The server bounds its messages; this is beyond all that an operator may set.
	maxReceiveBytes = 64 << 20
)

// Options says how to reach the server. The zero value is a server on this machine, without TLS.
type Options struct {
	// Addresses are host and port of each equal server; calls go round those that answer. Default [DefaultAddress], whose
	// port is also that of an address without one.
	Addresses []string

	// TLS encrypts the connection and checks the server's certificate, by its own host name at each address; nil is
	// plain text. [TLSFiles] makes one from PEM files, with a client certificate for mutual TLS.
	TLS *tls.Config

	// Token is a bearer token sent with each call; "" is none.
	Token string

	// User says who calls, and Groups of which groups he is, to a server that asks for no token; one that does knows it
	// from that.
	User   string
	Groups []string

	// Namespace is the tenant of all calls; "" is [DefaultNamespace].
	Namespace string

	// Patience is how long a call that finds no server is repeated, and how long a call takes at most in all if its
	// context has no deadline; 0 is 30 s.
	Patience time.Duration

	// Logger gets what workers and watches have to say about broken connections; nil is [slog.Default].
	Logger *slog.Logger

	// DialOptions are added to those of the client, for interceptors and statistics.
	DialOptions []grpc.DialOption
}

// TLSFiles names PEM files for TLS; "" leaves one out.
type TLSFiles struct {
	// CA holds the authorities to trust; "" means those of the system.
	CA string

	// Certificate and Key are the client's own, if the server asks for one (mutual TLS).
	Certificate, Key string
}

// Config reads the files.
func (f TLSFiles) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("tradewind: read the authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tradewind: expected PEM certificates in %s, but found none", f.CA)
		}
	}
	if f.Certificate != "" || f.Key != "" {
		own, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			return nil, fmt.Errorf("tradewind: read the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

func (o Options) withDefaults() Options {
	if len(o.Addresses) == 0 {
		o.Addresses = []string{DefaultAddress}
	}
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// A call that finds its server gone goes to the next one within moments, by gRPC itself; the client's own patience
// begins where that ends. Streams are left out: their owners resume them, at the right place.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [
      {"service": "tradewind.v1.ActionCallback", "method": "Work"},
      {"service": "tradewind.v1.ExecutionService", "method": "WatchExecution"},
      {"service": "tradewind.v1.ExecutionService", "method": "WatchEvents"},
      {"service": "tradewind.v1.ExecutionService", "method": "WatchActionLogs"},
      {"service": "tradewind.v1.HumanTaskService", "method": "WatchHumanTasks"}
    ]
  }, {
    "name": [
      {"service": "tradewind.v1.ActionCallback"},
      {"service": "tradewind.v1.DefinitionService"},
      {"service": "tradewind.v1.EnvironmentService"},
      {"service": "tradewind.v1.HumanTaskService"},
      {"service": "tradewind.v1.NotificationService"},
      {"service": "tradewind.v1.RetentionService"},
      {"service": "tradewind.v1.WorkerService"},
      {"service": "tradewind.v1.ActionLimitService"},
      {"service": "tradewind.v1.ExecutionService"},
      {"service": "tradewind.v1.ServerService"}
    ],
    "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

// dial makes the connection; nothing is sent yet.
func (o Options) dial() (*grpc.ClientConn, error) {
	target, options, err := o.target()
	if err != nil {
		return nil, err
	}
	options = append(options,
		grpc.WithTransportCredentials(o.credentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A dead connection is noticed within 40 s; the server allows a ping every 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// A server that is back is found within a second or so: streams wait for the connection, and an offer in hand
		// for a server that was away lapses after 5 s.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstDelay, Multiplier: 2, Jitter: 0.2, MaxDelay: longestReconnect},
			MinConnectTimeout: longestDelay,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceiveBytes)),
		grpc.WithChainUnaryInterceptor(o.unary),
		grpc.WithChainStreamInterceptor(o.stream),
	)
	return grpc.NewClient(target, append(options, o.DialOptions...)...)
}

// target returns where to go: one address through gRPC's own lookup, several as a fixed list, each under its own name.
func (o Options) target() (string, []grpc.DialOption, error) {
	var state resolver.State
	for _, given := range o.Addresses {
		address, err := completed(given)
		if err != nil || len(o.Addresses) == 1 {
			return address, nil, err
		}
		one := []resolver.Address{{Addr: address, ServerName: address}}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: one})
	}
	list := manual.NewBuilderWithScheme("tradewind")
	list.InitialState(state)
	return "tradewind:///servers", []grpc.DialOption{grpc.WithResolvers(list)}, nil
}

// completed returns address with a port; gRPC would take 443 for one without. What gRPC looks up itself stays as it is.
func completed(address string) (string, error) {
	scheme, _, found := strings.Cut(address, ":")
	if found && resolver.Get(scheme) != nil {
		return address, nil
	}
	if before, _, isURL := strings.Cut(address, "://"); isURL {
		return "", fmt.Errorf("expected host:port, but got %q: leave out %q and what follows the port", address, before+"://")
	}
	_, port, _ := net.SplitHostPort(DefaultAddress)
	bare := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil || !found && address != "" {
		return net.JoinHostPort(bare, port), nil
	}
	host, port, err := net.SplitHostPort(address)
	if number, _ := strconv.Atoi(port); err != nil || host == "" || number < 1 || number > 65_535 {
		return "", fmt.Errorf("expected host:port with a port from 1 to 65535, but got %q", address)
	}
	return address, nil
}

func (o Options) credentials() credentials.TransportCredentials {
	if o.TLS == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(o.TLS)
}

func (o Options) unary(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
	next grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return next(o.outgoing(ctx), method, request, reply, connection, options...)
}

func (o Options) stream(ctx context.Context, about *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	next grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return next(o.outgoing(ctx), about, connection, method, options...)
}

// outgoing adds what goes with each call: the token, who calls, and the trace that the caller is in.
func (o Options) outgoing(ctx context.Context) context.Context {
	if o.Token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+o.Token)
	}
	if o.User != "" {
		groups := strings.Join(each(o.Groups, url.PathEscape), ",")
		ctx = metadata.AppendToOutgoingContext(ctx, "x-tradewind-user", url.PathEscape(o.User), "x-tradewind-groups", groups)
	}
	if trace := Traceparent(ctx); trace != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", trace)
	}
	return ctx
}

type traceKey struct{}

// WithTraceparent returns a context whose calls carry a W3C trace context, e.g. "00-…-…-01". An execution that is
// started with it hands it to the workers of its actions.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// Traceparent returns the W3C trace context of ctx; "" if there is none. The context of an action's function has that of
// its execution.
func Traceparent(ctx context.Context) string {
	found, _ := ctx.Value(traceKey{}).(string)
	return found
}
