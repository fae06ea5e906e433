// The settings that go to the server. Which there are stands in package.json, made from the server's own schema.

import * as vscode from "vscode";

export const SECTION = "mellum";

/** What the user has set for the server, by the server's names; what has its default is left out. */
export function serverSettings(extension: vscode.Extension<unknown>): Record<string, unknown> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const settings: Record<string, unknown> = {};
  for (const property of Object.keys(extension.packageJSON.contributes.configuration.properties)) {
    const name = property.slice(SECTION.length + 1);
    if (name.startsWith("server.")) {
      continue; // the extension's own
    }
    const value = configuration.get(name);
    if (JSON.stringify(value) !== JSON.stringify(configuration.inspect(name)?.defaultValue)) {
      settings[name] = value;
    }
  }
  return settings;
}

/** Change a setting where it is set now: in the workspace if it stands there, else for the user. */
export async function change(name: string, value: unknown): Promise<void> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const isOfWorkspace = configuration.inspect(name)?.workspaceValue !== undefined;
  const target = isOfWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
  await configuration.update(name, value, target);
}
