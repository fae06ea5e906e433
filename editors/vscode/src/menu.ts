// The menu of the status bar item, and the commands in it that ask the server's command line.

import * as path from "node:path";
import * as vscode from "vscode";

import type { Installation } from "./installation";
import { run } from "./processes";
import { type Server, reason } from "./server";
import { SECTION, change } from "./settings";

interface Entry extends vscode.QuickPickItem {
  command?: string;
}

/** Show what can be done now; `sentence` says how things are. */
export async function showMenu(server: Server, installation: Installation, sentence: string): Promise<void> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const isOn = configuration.get("enabled", true);
  const language = vscode.window.activeTextEditor?.document.languageId;
  const isOff = language !== undefined && configuration.get<string[]>("disabledLanguages", []).includes(language);
  const { status } = server;
  const entries: Entry[] = [{ label: sentence, kind: vscode.QuickPickItemKind.Separator }];
  const add = (icon: string, label: string, command: string, description?: string): void => {
    entries.push({ label: `$(${icon}) ${label}`, description, command });
  };
  if (installation.command() === undefined) {
    add("cloud-download", "Install the server", "mellum.installServer");
  }
  if (status?.state === "no-model") {
    add("cloud-download", "Set up the default model", "mellum.setUpModel", "93 MB");
  }
  add("circle-slash", isOn ? "Switch suggestions off" : "Switch suggestions on", "mellum.toggle");
  if (language !== undefined) {
    add("circle-slash", `Switch suggestions ${isOff ? "on" : "off"} for ${language}`, "mellum.toggleLanguage");
  }
  add("sparkle", "Suggest now", "mellum.trigger");
  add("list-selection", "Show the context of the last suggestion", "mellum.showContext");
  add("server-environment", "Choose the model", "mellum.chooseModel", status?.model?.name);
  if (status !== undefined) {
    const figures = `${status.accepted} of ${status.shown} suggestions accepted in this session`;
    add("graph", "Show statistics", "mellum.showStatistics", figures);
  }
  add("output", "Show the log", "mellum.showLog");
  add("debug-restart", "Restart the server", "mellum.restart");
  const chosen = await vscode.window.showQuickPick(entries, { title: "Mellum", placeHolder: sentence });
  if (chosen?.command !== undefined) {
    await vscode.commands.executeCommand(chosen.command);
  }
}

/** Switch all suggestions; off stops all inference, because the server is told. */
export async function toggle(): Promise<void> {
  await change("enabled", !vscode.workspace.getConfiguration(SECTION).get("enabled", true));
}

/** Switch suggestions for the language of the active editor. */
export async function toggleLanguage(): Promise<void> {
  const language = vscode.window.activeTextEditor?.document.languageId;
  if (language === undefined) {
    void vscode.window.showInformationMessage("Open a file of the language first.");
    return;
  }
  const disabled = vscode.workspace.getConfiguration(SECTION).get<string[]>("disabledLanguages", []);
  const others = disabled.filter((one) => one !== language);
  await change("disabledLanguages", others.length < disabled.length ? others : [...others, language]);
}

/** Let the user choose among the models on this machine. */
export async function chooseModel(installation: Installation): Promise<void> {
  const listed = await ask<{ name: string; quantization?: string; megabytes: number; problem?: string }[]>(
    installation,
    ["models", "--json"],
  );
  if (listed === undefined) {
    return;
  }
  const entries = listed.map(({ name, quantization, megabytes, problem }) => ({
    label: name,
    description: problem ?? `${quantization}, ${Math.round(megabytes)} MB`,
    name: name as string | null,
  }));
  const inherited = { label: "What `mellum-lsp models use` says", description: "no setting", name: null };
  const chosen = await vscode.window.showQuickPick([inherited, ...entries], { title: "Mellum's model" });
  if (chosen !== undefined) {
    await change("model", chosen.name ?? undefined);
  }
}

/** Show the prompt of the last suggestion, as `mellum-lsp context` prints it, in an untitled document. */
export async function showContext(server: Server, installation: Installation): Promise<void> {
  const { last } = server;
  if (last?.uri.scheme !== "file") {
    void vscode.window.showInformationMessage("No suggestion was asked for in a file yet.");
    return;
  }
  const document = await vscode.workspace.openTextDocument(last.uri);
  const { line, character } = last.range.start;
  const before = document.lineAt(Math.min(line, document.lineCount - 1)).text;
  const column = [...before.slice(0, character)].length + 1; // of characters, not of UTF-16 units
  const place = `${last.uri.fsPath}:${line + 1}:${column}`;
  const named = vscode.workspace.getConfiguration(SECTION).get<string | null>("model");
  const open = vscode.workspace.textDocuments.filter((one) => one.uri.scheme === "file" && one !== document);
  const parameters = [...(named ? ["--model", named] : []), ...open.flatMap((one) => ["--open", one.uri.fsPath])];
  const text = await ask<string>(installation, ["context", place, ...parameters], (out) => out);
  if (text !== undefined) {
    const note = document.isDirty ? " as it was last saved" : "";
    const content = `What the model gets at ${place}${note}\n\n${text}`;
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument({ content }));
  }
}

/** Show what became of suggestions, in all sessions, as the page that `mellum-lsp stats` makes. */
export async function showStatistics(installation: Installation): Promise<void> {
  const page = await ask<string>(installation, ["stats", "--html", "-"], (out) => out);
  if (page !== undefined) {
    const title = "Mellum: Statistics";
    const panel = vscode.window.createWebviewPanel("mellum.statistics", title, vscode.ViewColumn.Active);
    panel.webview.html = page; // without scripts, and nothing in it comes from elsewhere
  }
}

/** Run the server's command and read what it prints; its error is shown, and gives undefined. */
async function ask<T>(
  installation: Installation,
  parameters: string[],
  read: (out: string) => T = (out) => JSON.parse(out) as T,
): Promise<T | undefined> {
  const command = installation.command();
  if (command === undefined) {
    void vscode.window.showErrorMessage("There is no server yet: choose Mellum: Install the Server.");
    return undefined;
  }
  const title = `${path.basename(command)} ${parameters[0]}`;
  return vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title }, async () => {
    try {
      return read(await run(command, parameters, { folder: installation.folder }));
    } catch (error) {
      void vscode.window.showErrorMessage(`${title}: ${reason(error)}`);
      return undefined;
    }
  });
}
