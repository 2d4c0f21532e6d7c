package completer_test

import (
	"testing"

	"github.com/warrenq/warren/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
