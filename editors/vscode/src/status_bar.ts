// The item in the status bar: one word for the state, and the whole sentence when pointed at.

import * as vscode from "vscode";

import { SECTION } from "./settings";
import type { Server } from "./server";

const THINKING_AFTER = 150; // milliseconds; most answers are there before, and an icon that blinks at each key disturbs

interface Face {
  icon: string;
  word: string;
  sentence: string;
  isError?: boolean;
}

export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("mellum.status", vscode.StatusBarAlignment.Right, 100);
  private readonly subscriptions: vscode.Disposable[];
  private thinking: NodeJS.Timeout | undefined;
  private isSlow = false;

  /** What is being installed or set up now; takes precedence over everything else. */
  activity: string | undefined;

  constructor(private readonly server: Server) {
    this.item.name = "Mellum";
    this.item.command = "mellum.menu";
    this.subscriptions = [
      server.onDidChange(() => this.update()),
      vscode.window.onDidChangeActiveTextEditor(() => this.update()),
      vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration(SECTION) && this.update()),
    ];
    this.update();
    this.item.show();
  }

  /** Draw the state of now. */
  update(): void {
    if (!this.server.isThinking) {
      clearTimeout(this.thinking);
      this.thinking = undefined;
      this.isSlow = false;
    } else if (this.thinking === undefined) {
      this.thinking = setTimeout(() => {
        this.isSlow = true;
        this.draw();
      }, THINKING_AFTER);
    }
    this.draw();
  }

  dispose(): void {
    clearTimeout(this.thinking);
    this.item.dispose();
    vscode.Disposable.from(...this.subscriptions).dispose();
  }

  /** The sentence that the item shows when pointed at. */
  get sentence(): string {
    return this.face().sentence;
  }

  private draw(): void {
    const { icon, word, sentence, isError } = this.face();
    this.item.text = `$(${icon}) Mellum`;
    this.item.tooltip = `Mellum: ${sentence}`;
    this.item.backgroundColor = isError ? new vscode.ThemeColor("statusBarItem.errorBackground") : undefined;
    this.item.accessibilityInformation = { label: `Mellum is ${word}: ${sentence}` };
  }

  private face(): Face {
    const { status, problem } = this.server;
    if (this.activity !== undefined) {
      return { icon: "sync~spin", word: "installing", sentence: this.activity };
    }
    if (problem !== undefined) {
      return { icon: "error", word: "in error", sentence: problem, isError: true };
    }
    if (status === undefined) {
      return { icon: "sync~spin", word: "loading", sentence: "The server is starting." };
    }
    switch (status.state) {
      case "loading":
        return { icon: "sync~spin", word: "loading", sentence: status.message };
      case "no-model":
      case "failed":
        return { icon: "error", word: "in error", sentence: status.message, isError: true };
      case "disabled":
        return { icon: "circle-slash", word: "off", sentence: status.message };
    }
    const language = vscode.window.activeTextEditor?.document.languageId ?? "";
    if (vscode.workspace.getConfiguration(SECTION).get<string[]>("disabledLanguages", []).includes(language)) {
      return { icon: "circle-slash", word: "off", sentence: `Suggestions are switched off for ${language}.` };
    }
    if (this.isSlow) {
      return { icon: "loading~spin", word: "thinking", sentence: "A suggestion is being made." };
    }
    if (status.silence?.reason) {
      return { icon: "comment", word: "silent", sentence: status.silence.sentence };
    }
    return { icon: "sparkle", word: "ready", sentence: status.message };
  }
}
