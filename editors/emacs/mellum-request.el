;;; mellum-request.el --- When a suggestion is asked for, and its answer  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; One request at a time for a buffer: it is sent once no key was pressed for a
;; moment, cancelled by the next change, and its answer is shown where the text
;; is still the same.

;;; Code:

(require 'cl-lib)
(require 'jsonrpc)
(require 'mellum-connection)
(require 'mellum-document)
(require 'mellum-overlay)

(defcustom mellum-idle-delay 0.05
  "Seconds without a key after which a suggestion is asked for.
With nil, only `mellum-complete' asks."
  :type '(choice (number :tag "Seconds") (const :tag "Only on demand" nil))
  :group 'mellum)

(defcustom mellum-hide-functions '(mellum-menu-is-open-p mellum-other-keys-p)
  "Functions of no argument; where one returns non-nil, no grey text is shown."
  :type '(repeat function)
  :group 'mellum)

(defvar mellum-mode)
(defvar-local mellum--timer nil "The timer that will ask.")
(defvar-local mellum--request nil "The number of the request that is under way.")
(defvar-local mellum--missed nil "Where a model that was still loading was asked.")

(defun mellum-menu-is-open-p ()
  "Return non-nil where a completion menu is open."
  (or completion-in-region-mode
      (bound-and-true-p company-candidates)
      (bound-and-true-p corfu--candidates)))

(defun mellum-other-keys-p ()
  "Return non-nil where keys do not type one text: Evil states, many cursors."
  (or (bound-and-true-p multiple-cursors-mode)
      (and (bound-and-true-p evil-local-mode)
           (not (memq (bound-and-true-p evil-state) '(insert replace emacs))))))

(defun mellum--wanted-p ()
  "Return non-nil where grey text may be shown."
  (and mellum-mode
       (not mellum--off)
       (not buffer-read-only)
       (not (region-active-p))
       (not executing-kbd-macro)
       (eq (current-buffer) (window-buffer (selected-window)))
       (not (run-hook-with-args-until-success 'mellum-hide-functions))))

(defun mellum--cancel ()
  "Give up the request that is under way, and the one that is to come."
  (when (timerp mellum--timer)
    (cancel-timer mellum--timer)
    (setq mellum--timer nil))
  (when mellum--request
    (mellum--notify :$/cancelRequest (list :id mellum--request))
    (setq mellum--request nil)))

(defun mellum--dismiss ()
  "Take the grey text away, and ask for no other."
  (mellum--cancel)
  (mellum--hide))

(defun mellum--schedule ()
  "Ask once no key was pressed for a moment."
  (mellum--cancel)
  (when mellum-idle-delay
    (let ((buffer (current-buffer)))
      (setq mellum--timer
            (run-at-time mellum-idle-delay nil
                         (lambda ()
                           (when (buffer-live-p buffer)
                             (with-current-buffer buffer
                               (setq mellum--timer nil)
                               (mellum--ask 2)))))))))

(defun mellum--ask (trigger &optional known)
  "Ask for suggestions at point; TRIGGER is 1 for a key, 2 for typing.
With KNOWN, the text of a candidate, show another one than that."
  (when (mellum--wanted-p)
    (mellum--connect)
    (mellum--flush)
    (let ((buffer (current-buffer)) (here (mellum--here)) (number nil))
      (setq mellum--missed (and (not (equal (plist-get mellum--status :state) "ready")) here))
      (when mellum--opened
        (setq number
              ;; the public function does not return the number, which it takes to cancel
              (car (jsonrpc--async-request-1
                    mellum--connection :textDocument/inlineCompletion
                    (list :textDocument (list :uri mellum--opened)
                          :position (mellum--position (point))
                          :context (list :triggerKind trigger))
                    :timeout 60
                    :success-fn (lambda (answer)
                                  (when (buffer-live-p buffer)
                                    (with-current-buffer buffer
                                      ;; what was cancelled may be answered all the same
                                      (when (and number (eql number mellum--request))
                                        (setq mellum--request nil)
                                        (when (equal here (mellum--here))
                                          (mellum--take answer (= trigger 1) known))))))
                    :error-fn #'ignore
                    :timeout-fn #'ignore))
              mellum--request number)))))

(defun mellum--take (answer is-explicit known)
  "Show the first item of ANSWER whose text is not KNOWN.
Say so where IS-EXPLICIT and there is none."
  (let* ((found (if (vectorp answer) answer (plist-get answer :items)))
         (items (delq nil (mapcar #'mellum--item found)))
         (index (cl-position known items :key #'car :test-not #'equal)))
    (cond ((not (mellum--wanted-p)) (mellum--hide))
          (items (setq mellum--items items
                       mellum--index (or index 0))
                 (mellum--show)
                 (mellum--notify :textDocument/didShowCompletion
                                 (list :item (nth 3 (nth mellum--index items))))
                 (unless index
                   (message "Mellum: there is no other suggestion")))
          (t (mellum--hide)
             (when is-explicit
               (mellum--say-why))))))

(defun mellum--say-why ()
  "Say why the server had nothing to show."
  (jsonrpc-async-request
   mellum--connection :mellum/status (make-hash-table)
   :success-fn (lambda (status)
                 (message "Mellum: %s" (or (plist-get (plist-get status :silence) :sentence)
                                           "nothing to suggest here")))
   :error-fn #'ignore
   :timeout-fn #'ignore))

(defun mellum--open-shown ()
  "Give the buffers that are on the screen to the server."
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (when (and mellum-mode (get-buffer-window buffer t))
        (mellum--open)))))

(defun mellum--ask-again ()
  "Ask for the selected buffer, where that was done before the model was loaded."
  (when (equal (plist-get mellum--status :state) "ready")
    (with-current-buffer (window-buffer (selected-window))
      (when (and mellum-mode (equal mellum--missed (mellum--here)))
        (mellum--ask 2)))))

(defun mellum--forget-buffers ()
  "Take all grey text away, and note that no server has any buffer."
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (when mellum-mode
        (mellum--dismiss)
        (setq mellum--opened nil
              mellum--changes nil)))))

(add-hook 'mellum--ready-hook #'mellum--open-shown)
(add-hook 'mellum--status-hook #'mellum--ask-again)
(add-hook 'mellum--ended-hook #'mellum--forget-buffers)

(provide 'mellum-request)
;;; mellum-request.el ends here
