// SPDX-License-Identifier: MIT

// Package queue runs work in the background, a bounded amount of it.
package queue

import (
	"context"
	"log/slog"
	"sync"
)

// Queue runs its work in order.
type Queue struct {
	work chan func(context.Context) error
	done sync.WaitGroup
}

// New starts a queue that ends with its context.
func New(ctx context.Context, room int) *Queue {
	q := &Queue{work: make(chan func(context.Context) error, room)}
	q.done.Add(1)
	go func() {
		defer q.done.Done()
		for {
			select {
			case <-ctx.Done():
				return
			case work := <-q.work:
				if err := work(ctx); err != nil {
					slog.Error("background work", "error", err)
				}
			}
		}
	}()
	return q
}

// Add says false when the queue is full.
func (q *Queue) Add(work func(context.Context) error) bool {
	select {
	case q.work <- work:
		return true
	default:
		return false
	}
}

// Wait returns when the queue has ended.
func (q *Queue) Wait() {
	q.done.Wait()
}
