// Package tradewind starts and watches the processes of a Tradewind server, and does their work.
//
// [Connect] gives a [Client], safe for many goroutines: it starts, reads, watches and steers executions. A [Worker]
// takes actions from the server and calls the functions that are registered for them. The generated messages and stubs
// are in the package tradewindv1 (folder v1).
//
// What the client promises, and every other client too, is in clients/README.md: calls are repeated safely, watches have
// no gap and no repetition, results are sent until the server has confirmed them, numbers keep their digits.
//
// Errors of the server are an [*Error]. Tell them apart with [errors.Is], by reason or by kind:
//
//	if errors.Is(err, tradewind.ReasonBusinessKeyInUse) { … }
//	if errors.Is(err, tradewind.ErrNotFound) { … }
package tradewind
