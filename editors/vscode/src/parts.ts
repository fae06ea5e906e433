// Tells the server of suggestions that were accepted in part. VS Code tells extensions of whole ones only.

import * as vscode from "vscode";

/** The suggestion that is on the screen, if one is; noted when it is offered. */
export class Parts implements vscode.Disposable {
  private uri = "";
  private item: vscode.InlineCompletionItem | undefined;
  private readonly subscription = vscode.workspace.onDidChangeTextDocument((event) => this.changed(event));

  /** Note what an answer offers. */
  offer(document: vscode.TextDocument, items: readonly vscode.InlineCompletionItem[]): void {
    this.uri = document.uri.toString();
    this.item = items[0];
  }

  dispose(): void {
    this.subscription.dispose();
  }

  /** One edit that inserts several characters that the suggestion goes on with: a word or a line of it. */
  private changed({ document, contentChanges, reason }: vscode.TextDocumentChangeEvent): void {
    const [change] = contentChanges;
    const { item } = this;
    if (!item?.range || !item.command || change === undefined || contentChanges.length > 1) {
      return;
    }
    if (reason !== undefined || document.uri.toString() !== this.uri || change.text.length < 2) {
      return;
    }
    const text = typeof item.insertText === "string" ? item.insertText : item.insertText.value;
    const inserted = change.text.replaceAll("\r\n", "\n");
    const before = document.getText(new vscode.Range(item.range.start, change.range.start)).replaceAll("\r\n", "\n");
    const whole = before + inserted;
    if (change.range.isEmpty && text.startsWith(whole) && whole.length < text.length) {
      this.item = undefined; // told once
      void vscode.commands.executeCommand(item.command.command, ...(item.command.arguments ?? []));
    }
  }
}
