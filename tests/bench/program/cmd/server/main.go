// SPDX-License-Identifier: MIT

// Server is the benchmark's large program: net/http, much of the standard library, several packages of its own.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"

	"tuck.bench/program/internal/api"
	"tuck.bench/program/internal/auth"
	"tuck.bench/program/internal/config"
	"tuck.bench/program/internal/queue"
	"tuck.bench/program/internal/store"
)

func main() {
	if err := run(); err != nil {
		slog.Error("server", "error", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	settings, err := config.Load(os.Args[1:])
	if err != nil {
		return err
	}
	signer, err := auth.NewSigner()
	if err != nil {
		return err
	}
	face := &api.Server{Store: store.New(), Signer: signer, Queue: queue.New(ctx, 16)}
	server := &http.Server{Addr: settings.Listen, Handler: face.Handler(), ReadTimeout: settings.Timeout}
	go func() {
		<-ctx.Done()
		server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	face.Queue.Wait()
	return nil
}
