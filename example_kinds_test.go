package warren_test

import (
	"context"
	"fmt"

	"github.com/warrenq/warren"
)

// SyncStock is the input of one action of products.
type SyncStock struct {
	Shop string `json:"shop"`
}

// Kind is the group's name and the action's.
func (SyncStock) Kind() string { return "product.sync_stock" }

// The actions of one part of a program, as kinds with its name.
func ExampleGroup() {
	products := warren.Group("product")
	warren.HandleArgs(products, "sync_stock", func(_ context.Context, job *warren.Job[SyncStock]) error {
		fmt.Println("stock of", job.Args.Shop)
		return nil
	}, warren.KindOpts{Describe: warren.Describe{Title: "Read the stock of a shop"}})

	var registry warren.Registry
	registry.Add(products)
	inline, err := warren.NewInline(warren.InlineConfig{Registry: &registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := inline.Publish(context.Background(), SyncStock{Shop: "Brno"}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(registry.Kinds())
	// Output:
	// stock of Brno
	// [product.sync_stock]
}

// StockSettings are what operators may change while consumers run:
//
//	warren kinds settings product.sync_stock --set batch=500
type StockSettings struct {
	Batch int `json:"batch"`
}

func ExampleSettings() {
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(ctx context.Context, _ *warren.Job[SyncStock]) error {
		fmt.Println("at most", warren.Settings[StockSettings](ctx).Batch, "at a time")
		return nil
	}, warren.KindOpts{Settings: StockSettings{Batch: 100}})
	inline, err := warren.NewInline(warren.InlineConfig{Registry: &registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := inline.Publish(context.Background(), SyncStock{}); err != nil {
		fmt.Println(err)
	}
	// Output: at most 100 at a time
}
