package tradewind

import (
	"context"
	"iter"

	tradewindv1 "github.com/tradewind/tradewind/clients/go/tradewind/v1"
)

// File is one text of definitions.
type File struct {
	// Name is shown in problems, e.g. "salary.yaml".
	Name string
	// Content is YAML.
	Content []byte
}

func (f File) proto() *tradewindv1.DefinitionFile {
	return &tradewindv1.DefinitionFile{Name: f.Name, Content: f.Content}
}

// Check checks texts of definitions, as they would be in a workflow namespace, and returns all problems at once. Nothing
// is stored.
func (c *Client) Check(ctx context.Context, workflowNamespace string, files ...File) ([]*tradewindv1.Problem, error) {
	response, err := send(ctx, c, c.definitions.ValidateDefinitions, &tradewindv1.ValidateDefinitionsRequest{
		Namespace: c.options.Namespace, WorkflowNamespace: workflowNamespace, Files: each(files, File.proto),
	})
	return response.GetProblems(), err
}

// Deploy stores texts of definitions in a workflow namespace ("" is the usual one), all or none. The same content again
// changes nothing. [ReasonDefinitionInvalid] has each problem in Violations.
func (c *Client) Deploy(
	ctx context.Context, workflowNamespace string, files ...File,
) (*tradewindv1.DeployDefinitionsResponse, error) {
	return send(ctx, c, c.definitions.DeployDefinitions, &tradewindv1.DeployDefinitionsRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(),
		WorkflowNamespace: workflowNamespace, Files: each(files, File.proto),
	})
}

// Definition names a workflow, an ad-hoc action or a form.
type Definition struct {
	// Name is its name.
	Name string
	// IsAction says that an ad-hoc action is meant, not a workflow.
	IsAction bool
	// IsForm says that a form is meant, not a workflow.
	IsForm bool
	// WorkflowNamespace is where it is; "" is the usual one.
	WorkflowNamespace string
	// Version counts from 1; 0 is the current one.
	Version uint32
}

func (d Definition) kind() tradewindv1.DefinitionKind {
	if d.IsForm {
		return tradewindv1.DefinitionKind_DEFINITION_KIND_FORM
	}
	if d.IsAction {
		return tradewindv1.DefinitionKind_DEFINITION_KIND_ACTION
	}
	return tradewindv1.DefinitionKind_DEFINITION_KIND_WORKFLOW
}

// GetDefinition returns a definition with its text.
func (c *Client) GetDefinition(ctx context.Context, definition Definition) (*tradewindv1.Definition, error) {
	response, err := send(ctx, c, c.definitions.GetDefinition, &tradewindv1.GetDefinitionRequest{
		Namespace: c.options.Namespace, WorkflowNamespace: definition.WorkflowNamespace,
		Name: definition.Name, Kind: definition.kind(), Version: definition.Version,
	})
	return response.GetDefinition(), err
}

// Definitions lists the current definitions without their texts, page by page as they are read.
func (c *Client) Definitions(ctx context.Context, filter string) iter.Seq2[*tradewindv1.Definition, error] {
	return pages(func(token string) ([]*tradewindv1.Definition, string, error) {
		response, err := send(ctx, c, c.definitions.ListDefinitions, &tradewindv1.ListDefinitionsRequest{
			Namespace: c.options.Namespace, Filter: filter, PageToken: token,
		})
		return response.GetDefinitions(), response.GetNextPageToken(), err
	})
}

// DeleteDefinition takes a name out of the registry and returns the registry's revision. The version is not looked at.
func (c *Client) DeleteDefinition(ctx context.Context, definition Definition) (int64, error) {
	response, err := send(ctx, c, c.definitions.DeleteDefinition, &tradewindv1.DeleteDefinitionRequest{
		Namespace: c.options.Namespace, RequestId: newRequestID(), WorkflowNamespace: definition.WorkflowNamespace,
		Name: definition.Name, Kind: definition.kind(),
	})
	return response.GetRegistryRevision(), err
}

// Environment is a stored set of variables.
type Environment struct {
	// Name is its name.
	Name string
	// Description is for people.
	Description string
	// Variables is an object; a [Value] in answers.
	Variables any
	// Etag, when it is put, makes sure that it is still the one that was seen; "" puts it in any case.
	Etag string
}

// PutEnvironment makes or replaces a stored environment and returns its new etag.
func (c *Client) PutEnvironment(ctx context.Context, environment Environment) (string, error) {
	variables, err := NewValue(environment.Variables)
	if err != nil {
		return "", err
	}
	response, err := send(ctx, c, c.environments.PutEnvironment, &tradewindv1.PutEnvironmentRequest{
		Namespace: c.options.Namespace, Etag: environment.Etag,
		Environment: &tradewindv1.Environment{
			Name: environment.Name, Description: environment.Description, Variables: variables.payload,
		},
	})
	return response.GetEnvironment().GetEtag(), err
}

// GetEnvironment returns a stored environment with its variables.
func (c *Client) GetEnvironment(ctx context.Context, name string) (*Environment, error) {
	response, err := send(ctx, c, c.environments.GetEnvironment, &tradewindv1.GetEnvironmentRequest{
		Namespace: c.options.Namespace, Name: name,
	})
	if err != nil {
		return nil, err
	}
	return readEnvironment(response.GetEnvironment()), nil
}

// Environments lists stored environments without their variables, page by page as they are read.
func (c *Client) Environments(ctx context.Context) iter.Seq2[*Environment, error] {
	return pages(func(token string) ([]*Environment, string, error) {
		response, err := send(ctx, c, c.environments.ListEnvironments, &tradewindv1.ListEnvironmentsRequest{
			Namespace: c.options.Namespace, PageToken: token,
		})
		return each(response.GetEnvironments(), readEnvironment), response.GetNextPageToken(), err
	})
}

// DeleteEnvironment removes a stored environment; what was started with it keeps its copy. One that is not there is no
// error. With an etag it must still be the one that was seen.
func (c *Client) DeleteEnvironment(ctx context.Context, name, etag string) error {
	_, err := send(ctx, c, c.environments.DeleteEnvironment, &tradewindv1.DeleteEnvironmentRequest{
		Namespace: c.options.Namespace, Name: name, Etag: etag, AllowMissing: true,
	})
	return err
}

func readEnvironment(proto *tradewindv1.Environment) *Environment {
	return &Environment{
		Name: proto.GetName(), Description: proto.GetDescription(),
		Variables: Value{proto.GetVariables()}, Etag: proto.GetEtag(),
	}
}
