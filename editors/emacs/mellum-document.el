;;; mellum-document.el --- The text of a buffer, as mellum-lsp has it  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Opens buffers with the server, sends each change of them, and translates
;; between positions of the buffer and of the protocol.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'url-util)
(require 'mellum-connection)

(defcustom mellum-buffer-limit 2000000
  "Buffers with more characters than this are not sent to the server."
  :type 'natnum
  :group 'mellum)

(defcustom mellum-language-ids
  '(("bash" . "shellscript") ("c++" . "cpp") ("cperl" . "perl") ("emacs-lisp" . "elisp")
    ("js" . "javascript") ("js-json" . "json") ("js-jsx" . "javascriptreact")
    ("js2" . "javascript") ("rustic" . "rust") ("sh" . "shellscript")
    ("tsx" . "typescriptreact"))
  "LSP language ids of major modes, by their names without `-mode' and `-ts-mode'.
Where a mode is not here, that name is the language id."
  :type '(alist :key-type string :value-type string)
  :group 'mellum)

(defvar-local mellum--opened nil "The URI under which the server has this buffer.")
(defvar-local mellum--version 0 "The number of this buffer's text.")
(defvar-local mellum--changes nil
  "Changes that were not sent yet, the last one first; or `all' for the whole text.")
(defvar-local mellum--change-count 0 "How many changes `mellum--changes' has.")
(defconst mellum--most-changes 500
  "How many changes are sent one by one; a command that makes more sends all text.
Undo and replacement make thousands at once, which cost both sides seconds.")
(defvar-local mellum--before nil "Where the change that is under way begins and ends.")
(defvar-local mellum--tick nil "State of the text that `mellum--changes' leads to.")

(defun mellum--buffer-uri ()
  "Return the URI of this buffer."
  (if buffer-file-name
      (mellum--uri (or buffer-file-truename buffer-file-name))
    (concat "untitled:" (url-hexify-string (buffer-name)))))

(defun mellum--sendable (text)
  "Return TEXT with what the server cannot take or counts otherwise replaced.
These are raw bytes, and carriage returns, which would begin a line there.
Each character becomes one character."
  (replace-regexp-in-string
   "\r" " " (replace-regexp-in-string "[^\u0000-\ud7ff\ue000-\U0010ffff]" "\ufffd" text t t) t t))

(defun mellum--text (from to)
  "Return what the server gets of the buffer between FROM and TO."
  (mellum--sendable (buffer-substring-no-properties from to)))

(defun mellum--whole-text ()
  "Return what the server gets of the whole buffer."
  (save-restriction
    (widen)
    (mellum--text (point-min) (point-max))))

(defun mellum--here ()
  "Return where point is, and in which state of the text."
  (cons (point) (buffer-chars-modified-tick)))

(defun mellum--position (place)
  "Return the position PLACE as the protocol wants it: line and code points."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char place)
      (let ((inhibit-field-text-motion t))
        (list :line (1- (line-number-at-pos nil t))
              :character (- (point) (line-beginning-position)))))))

(defun mellum--place (position)
  "Return the buffer position of the protocol's POSITION."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (point-min))
      (forward-line (plist-get position :line))
      (let ((inhibit-field-text-motion t))
        (min (+ (point) (plist-get position :character)) (line-end-position))))))

(defun mellum--servable-p ()
  "Return non-nil if the server can work with this buffer."
  (and enable-multibyte-characters
       (<= (buffer-size) mellum-buffer-limit)
       (not (file-remote-p default-directory))))

(defun mellum--language ()
  "Return the LSP language id of this buffer."
  (let ((name (replace-regexp-in-string "\\(-ts\\)?-mode\\'" "" (symbol-name major-mode))))
    (alist-get name mellum-language-ids name nil #'equal)))

(defun mellum--open ()
  "Give this buffer to the server, and its project as a workspace folder."
  (when (and mellum--ready (not mellum--opened) (mellum--servable-p))
    (let ((root (mellum--project-root)))
      (when (and root (not (member root mellum--folders)))
        (push root mellum--folders)
        (mellum--notify :workspace/didChangeWorkspaceFolders
                        (list :event (list :added (vector (mellum--folder root)) :removed [])))))
    (setq mellum--opened (mellum--buffer-uri)
          mellum--changes nil
          mellum--change-count 0
          mellum--tick (buffer-chars-modified-tick))
    (mellum--notify
     :textDocument/didOpen
     (list :textDocument
           (list :uri mellum--opened
                 :languageId (mellum--language)
                 :version (cl-incf mellum--version)
                 :text (mellum--whole-text))))))

(defun mellum--close ()
  "Take this buffer from the server."
  (when mellum--opened
    (mellum--notify :textDocument/didClose (list :textDocument (list :uri mellum--opened)))
    (setq mellum--opened nil)))

(defun mellum--before-change (from to)
  "Remember where the text between FROM and TO, which will change, stands."
  (when (and mellum--opened (not (eq mellum--changes 'all)))
    (with-demoted-errors "Mellum: %S"
      (setq mellum--before (list from to (mellum--position from) (mellum--position to)
                                 (buffer-chars-modified-tick))))))

(defun mellum--after-change (from to length)
  "Note that LENGTH characters became the text between FROM and TO."
  (when (and mellum--opened (not (eq mellum--changes 'all)))
    (with-demoted-errors "Mellum: %S"
      (pcase mellum--before
        ((and `(,(pred (= from)) ,(pred (= (+ from length))) ,start ,end ,(pred (eql mellum--tick)))
              (guard (< mellum--change-count mellum--most-changes)))
         (setq mellum--change-count (1+ mellum--change-count))
         (push (list :range (list :start start :end end) :text (mellum--text from to))
               mellum--changes))
        ;; some commands announce more than they change, others change without a word
        (_ (setq mellum--changes 'all)))
      (setq mellum--before nil
            mellum--tick (buffer-chars-modified-tick)))))

(defun mellum--flush ()
  "Send what has changed in this buffer."
  (unless (and (equal mellum--opened (mellum--buffer-uri)) (mellum--servable-p))
    (mellum--close))                    ; it was written to another file, or has grown too long
  (mellum--open)
  (when mellum--opened
    (unless (eql mellum--tick (buffer-chars-modified-tick))
      (setq mellum--changes 'all
            mellum--tick (buffer-chars-modified-tick)))
    (when mellum--changes
      (let ((changes (if (eq mellum--changes 'all)
                         (vector (list :text (mellum--whole-text)))
                       (vconcat (nreverse mellum--changes)))))
        (setq mellum--changes nil
              mellum--change-count 0)
        (mellum--notify :textDocument/didChange
                        (list :textDocument (list :uri mellum--opened
                                                  :version (cl-incf mellum--version))
                              :contentChanges changes))))))

(defun mellum--saved ()
  "Tell the server that this buffer was saved."
  (with-demoted-errors "Mellum: %S"
    (mellum--flush)
    (when mellum--opened
      (mellum--notify :textDocument/didSave (list :textDocument (list :uri mellum--opened))))))

(provide 'mellum-document)
;;; mellum-document.el ends here
