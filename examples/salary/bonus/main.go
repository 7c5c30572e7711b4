// The bonus system, as an action worker made of nothing but the generated stubs.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Money is text that is valid JSON: Go's floats would lose digits.
var bonuses = map[string]json.Number{"e-17": "612.30", "e-23": "1995.00"}

// clerk enters bonuses, and corrects them where they are returned.
const clerk = "carol"

type money struct {
	Amount   json.Number `json:"amount"`
	Currency string      `json:"currency"`
}

type entry struct {
	Bonus     money   `json:"bonus"`
	EnteredBy *string `json:"entered_by"`
}

func main() {
	address := "127.0.0.1:7233"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	worker := tradewindv1.NewActionCallbackClient(connection)
	for {
		polled, err := worker.PollActions(context.Background(), &tradewindv1.PollActionsRequest{
			WorkerId:   "bonus-go",
			Actions:    []*tradewindv1.ActionCapability{{Name: "bonus.get"}},
			MaxActions: 50,
		})
		if err != nil {
			log.Print(err)
			time.Sleep(300 * time.Millisecond)
			continue
		}
		// Side by side, so that the server records many answers in one transaction.
		var answers sync.WaitGroup
		for _, offer := range polled.Offers {
			answers.Add(1)
			go func() {
				defer answers.Done()
				report(worker, offer)
			}()
		}
		answers.Wait()
	}
}

// report answers an offer. A lost answer does no harm: the offer comes again when its lease is over.
func report(worker tradewindv1.ActionCallbackClient, offer *tradewindv1.Offer) {
	var err error
	if data, failure := bonus(offer.Input.GetData()); failure != nil {
		_, err = worker.FailAction(context.Background(), &tradewindv1.FailActionRequest{
			Target:  &tradewindv1.FailActionRequest_Token{Token: offer.Token},
			Failure: &tradewindv1.Failure{Code: "BAD_INPUT", Message: failure.Error()},
		})
	} else {
		_, err = worker.CompleteAction(context.Background(), &tradewindv1.CompleteActionRequest{
			Target: &tradewindv1.CompleteActionRequest_Token{Token: offer.Token},
			Result: &tradewindv1.Payload{Data: data},
		})
	}
	if err != nil {
		log.Print(err)
	}
}

func bonus(input []byte) ([]byte, error) {
	var asked struct {
		EmployeeID string `json:"employee_id"`
	}
	if err := json.Unmarshal(input, &asked); err != nil {
		return nil, err
	}
	amount, known := bonuses[asked.EmployeeID]
	if !known {
		amount = ofThePlant(asked.EmployeeID)
	}
	found := entry{Bonus: money{amount, "EUR"}}
	if amount != "0.00" {
		entered := clerk
		found.EnteredBy = &entered
	}
	return json.Marshal(found)
}

// ofThePlant returns the bonus of e-1001 to e-2000: two in five have none, one in twenty has a large one.
func ofThePlant(employeeID string) json.Number {
	number, err := strconv.Atoi(strings.TrimPrefix(employeeID, "e-"))
	if err != nil || len(employeeID) != 6 || number%5 < 2 {
		return "0.00"
	}
	cents := 20_000 + number
	if number%20 == 7 {
		cents = 150_000 + number
	}
	return json.Number(fmt.Sprintf("%d.%02d", cents/100, cents%100))
}
