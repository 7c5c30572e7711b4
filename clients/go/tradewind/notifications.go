package tradewind

import (
	"context"
	"iter"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// Notifications lists messages to people, page by page as they are read: of some states, or all. Those of
// NOTIFICATION_STATE_DEAD were given up, and say why.
func (c *Client) Notifications(
	ctx context.Context, states ...tradewindv1.NotificationState,
) iter.Seq2[*tradewindv1.Notification, error] {
	return pages(func(token string) ([]*tradewindv1.Notification, string, error) {
		response, err := send(ctx, c, c.notifications.ListNotifications, &tradewindv1.ListNotificationsRequest{
			Namespace: c.options.Namespace, States: states, PageToken: token,
		})
		return response.GetNotifications(), response.GetNextPageToken(), err
	})
}

// RetryNotifications has messages that were given up sent again, from the first channel of their recipients on: those of
// these ids, or without any all of them. It returns how many there were.
func (c *Client) RetryNotifications(ctx context.Context, ids ...string) (int, error) {
	response, err := send(ctx, c, c.notifications.RetryNotifications, &tradewindv1.RetryNotificationsRequest{
		Namespace: c.options.Namespace, Ids: ids,
	})
	return int(response.GetRetriedCount()), err
}

// SendTestNotification sends a test over a channel of the server now, to a user, "group:NAME" or an address of the
// channel's kind. It returns what the provider calls the message, or "".
func (c *Client) SendTestNotification(ctx context.Context, channel, to string) (string, error) {
	response, err := send(ctx, c, c.notifications.SendTestNotification, &tradewindv1.SendTestNotificationRequest{
		Channel: channel, To: to,
	})
	return response.GetProviderId(), err
}
